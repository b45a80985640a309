"""Turns the output of Python code into log lines, so that a service writes log lines only.

A forest that was fitted with `verbose=1` prints on every prediction, and a transformer may hold a
forgotten `print`. Native code that writes to the file descriptors is not captured.
"""

import io
import logging
import sys
import threading
from typing import TextIO, cast

MAX_LINE = 8000


def capture_output() -> None:
    """Log the output of this process: standard output as info, standard error as a warning."""
    sys.stdout = cast("TextIO", CapturedOutput("stdout", logging.INFO, original_stream(sys.stdout)))
    sys.stderr = cast(
        "TextIO", CapturedOutput("stderr", logging.WARNING, original_stream(sys.stderr))
    )


def original_stream(stream: TextIO) -> TextIO:
    """The stream below a capture, or the stream itself."""
    return stream.stream if isinstance(stream, CapturedOutput) else stream


class CapturedOutput(io.TextIOBase):
    """A stream whose lines become log lines; each thread writes lines of its own."""

    def __init__(self, name: str, level: int, stream: TextIO) -> None:
        self.stream = stream
        self._logger = logging.getLogger(name)
        self._level = level
        self._thread = threading.local()

    def write(self, text: str) -> int:
        *lines, unfinished = (getattr(self._thread, "unfinished", "") + text).split("\n")
        self._thread.unfinished = unfinished
        for line in lines:
            self._log(line)
        if len(unfinished) > MAX_LINE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        unfinished = getattr(self._thread, "unfinished", "")
        self._thread.unfinished = ""
        self._log(unfinished)

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> object:
        return self.stream.buffer

    def _log(self, line: str) -> None:
        # Another handler of the root logger may write its log lines to this stream.
        if line.strip() and not getattr(self._thread, "logging", False):
            self._thread.logging = True
            try:
                self._logger.log(self._level, "%s", line)
            finally:
                self._thread.logging = False
