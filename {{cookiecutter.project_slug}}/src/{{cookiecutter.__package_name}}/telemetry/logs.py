"""Logs to standard error: JSON lines for machines, plain lines on a terminal.

Whatever a client sends can not break or forge a line, and no line is lost for what it holds. A
JSON line is ASCII: no terminal and no collector finds a line end, a text direction or another
encoding in it. A plain line escapes what is not printable, and quotes what could be two fields.
"""

import json
import logging
import re
import sys
import threading
import time
from types import TracebackType
from typing import Any

import orjson

from .printed import capture_prints, original

LONGEST_TEXT = 8000
"""Characters of one value; longer ones lose their middle. Tracebacks of a request have 6,000."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SAID = {"access": {"method", "path", "status"}}
"""Fields that the message of a logger has already."""
_ONE_FIELD = re.compile(r'[^\s"=\\]+')
_NOT_PLAIN_ASCII = re.compile(r"[^ -~]")


def configure_logs(log_format: str, level: str) -> None:
    """Send everything that this process has to say to standard error, as log lines.

    log_format: auto, json or text. Everything: also warnings, what is printed, and the exception
    that ends a thread or the process.
    """
    stream = original(sys.stderr)
    plain = log_format == "text" or (log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if plain else JSONFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn's own lines repeat ours; its warnings are about clients, and answered as such.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    capture_prints()
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread


class JSONFormatter(logging.Formatter):
    """One JSON object per line, with the record's extra fields as members."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _extra(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = _trace(record)
        try:
            text = orjson.dumps(line, default=_shown, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            text = b""
        if not text or len(text) > LONGEST_TEXT:
            text = orjson.dumps({name: _fragment(value) for name, value in line.items()})
        return _NOT_PLAIN_ASCII.sub(_escape, text.decode())


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`, then the traceback where there is one, indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:7} {_printable(_shown(_message(record)))}"
        said = _SAID.get(record.name, ())
        for name, value in _extra(record).items():
            if name not in said:
                line += f" {name}={_quoted(_shown(value))}"
        if record.exc_info:
            line += "".join(f"\n    {_printable(part)}" for part in _trace(record).splitlines())
        return line


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip()
    except Exception:  # the arguments do not fit the message, or have no text
        return f"{_shown(record.msg)} {_shown(record.args)}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _trace(record: logging.LogRecord) -> str:
    return _shown(logging.Formatter().formatException(record.exc_info))  # type: ignore[arg-type]


def _shown(value: object) -> str:
    """Any value as text that UTF-8 can carry."""
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__} without a text: {type(error).__name__}>"
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text.encode(errors="backslashreplace").decode()


def _fragment(value: object) -> orjson.Fragment:
    """A value as JSON; as text if it is long, or what orjson refuses: an unpaired surrogate, an
    integer of more than 64 bits, a cycle."""
    try:
        encoded = orjson.dumps(value, default=_shown, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        encoded = b""
    if not encoded or len(encoded) > LONGEST_TEXT:
        encoded = orjson.dumps(_shown(value))
    return orjson.Fragment(encoded)


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _quoted(text: str) -> str:
    return _printable(text if _ONE_FIELD.fullmatch(text) else json.dumps(text, ensure_ascii=False))


def _log_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("crash").critical("crashed", exc_info=(kind, error, trace))


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)
