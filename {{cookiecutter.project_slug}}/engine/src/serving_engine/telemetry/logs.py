"""Logs to standard error: JSON lines for machines, plain lines on a terminal.

No value that a client sends can break, forge or lose a line. A JSON line is ASCII: it has no line
end, text direction or encoding that a terminal or a log collector could misread. A plain line
escapes characters that are not printable, and quotes a value that could be read as two fields.
"""

import json
import logging
import re
import sys
import threading
import time
from types import TracebackType

import orjson

from ..text import printable
from .captured_output import capture_output, original_stream
from .log_handler import LogHandler
from .request_context import current_request

MAX_TEXT = 8000
"""Characters of one value; a longer one is cut in the middle. The traceback of a failed request has
about 6,000."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_IN_MESSAGE = {"access": {"method", "path", "status"}}
"""Extra fields that the message of a logger already contains."""
_ONE_FIELD = re.compile(r'[^\s"=\\]+')
_NOT_PLAIN_ASCII = re.compile(r"[^ -~]")


def configure_logs(log_format: str, level: str, service: str = "") -> None:
    """Write all log records of this process to standard error.

    They include Python's warnings, the captured output, and an exception that ends a thread or the
    process. log_format: auto, json or text. service: the field `service` of JSON lines.
    """
    stream = original_stream(sys.stderr)
    plain = log_format == "text" or (log_format == "auto" and stream.isatty())
    handler = LogHandler(stream)
    handler.setFormatter(TextFormatter() if plain else JSONFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn's info lines repeat ours; its warnings are about requests that get an error response.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    capture_output()
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread


class JSONFormatter(logging.Formatter):
    """One JSON object per line, with the record's extra fields as members.

    service: the member `service` of every line, if it is not empty.
    """

    def __init__(self, service: str = "") -> None:
        super().__init__()
        self._service = {"service": service} if service else {}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **self._service,
        }
        for name, value in _extra(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = _traceback(record)
        try:
            text = orjson.dumps(line, default=_to_text, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            text = b""
        if not text or len(text) > MAX_TEXT:
            text = orjson.dumps({name: _fragment(value) for name, value in line.items()})
        return _NOT_PLAIN_ASCII.sub(_escape, text.decode())


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`, then the traceback where there is one, indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:7} {printable(_to_text(_message(record)))}"
        in_message = _IN_MESSAGE.get(record.name, ())
        for name, value in _extra(record).items():
            if name not in in_message:
                line += f" {name}={_quoted(_to_text(value))}"
        if record.exc_info:
            line += "".join(f"\n    {printable(part)}" for part in _traceback(record).splitlines())
        return line


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip()
    except Exception:  # the arguments do not fit the message, or their __str__ fails
        return f"{_to_text(record.msg)} {_to_text(record.args)}"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """The fields of a record, and those of the request in which it was made."""
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    context = current_request.get()
    return own if context is None else {**own, **context.log_fields()}


def _traceback(record: logging.LogRecord) -> str:
    return _to_text(logging.Formatter().formatException(record.exc_info))  # type: ignore[arg-type]


def _to_text(value: object) -> str:
    """Any value as text that UTF-8 can encode."""
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__} without text: {type(error).__name__}>"
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text.encode(errors="backslashreplace").decode()


def _fragment(value: object) -> orjson.Fragment:
    """A value as JSON. It becomes text if it is long, or if orjson rejects it: an unpaired
    surrogate, an integer of more than 64 bits, a cycle."""
    try:
        encoded = orjson.dumps(value, default=_to_text, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        encoded = b""
    if not encoded or len(encoded) > MAX_TEXT:
        encoded = orjson.dumps(_to_text(value))
    return orjson.Fragment(encoded)


def _escape(character: re.Match[str]) -> str:
    return json.dumps(character[0])[1:-1]


def _quoted(text: str) -> str:
    return printable(text if _ONE_FIELD.fullmatch(text) else json.dumps(text, ensure_ascii=False))


def _log_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("crash").critical("crashed", exc_info=(kind, error, trace))


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)
