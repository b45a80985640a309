"""Logs to standard error: JSON lines for machines, plain lines on a terminal.

Whatever a client sends can not break or forge a line: JSON escapes it, and the plain format
escapes everything that is not printable.
"""

import logging
import sys
import time
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logs(log_format: str, level: str) -> None:
    """Send the logs of this process to standard error. `log_format`: auto, json or text."""
    plain = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if plain else JSONFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn's own lines repeat ours; its warnings are about clients, and answered as such.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.raiseExceptions = False


class JSONFormatter(logging.Formatter):
    """One JSON object per line, with the record's extra fields as members."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`, then the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_printable(value)}" for name, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname:7} {_printable(record.getMessage())}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _printable(value: object) -> str:
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
