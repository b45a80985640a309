"""What Python code prints, as log lines: a served model writes nothing else.

A forest that was fitted with `verbose=1` reports on every prediction, and a `print` in a
transformer is easily left behind. Native code that writes to the file descriptors is not caught.
"""

import io
import logging
import sys
import threading
from typing import TextIO, cast

LONGEST_LINE = 8000


def capture_prints() -> None:
    """Log what this process prints: standard output as info, standard error as a warning."""
    sys.stdout = cast("TextIO", Printed("stdout", logging.INFO, original(sys.stdout)))
    sys.stderr = cast("TextIO", Printed("stderr", logging.WARNING, original(sys.stderr)))


def original(stream: TextIO) -> TextIO:
    """The stream that a capture replaced, or the stream itself."""
    return stream.stream if isinstance(stream, Printed) else stream


class Printed(io.TextIOBase):
    """A stream whose lines become log lines; each thread writes lines of its own."""

    def __init__(self, name: str, level: int, stream: TextIO) -> None:
        self.stream = stream
        self._logger = logging.getLogger(name)
        self._level = level
        self._thread = threading.local()

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._thread, "rest", "") + text).split("\n")
        self._thread.rest = rest
        for line in lines:
            self._log(line)
        if len(rest) > LONGEST_LINE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        rest = getattr(self._thread, "rest", "")
        self._thread.rest = ""
        self._log(rest)

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> object:
        return self.stream.buffer

    def _log(self, line: str) -> None:
        # A handler that somebody else gave the root logger may write here what we log.
        if line.strip() and not getattr(self._thread, "logging", False):
            self._thread.logging = True
            try:
                self._logger.log(self._level, "%s", line)
            finally:
                self._thread.logging = False
