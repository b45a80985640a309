"""Writes log lines to standard error, and never waits for the program that reads them.

A log collector that stops reading fills the pipe. A write that waits for it would stop the service:
its requests, its probes and its signals. So a line that does not fit is dropped and counted in
serving_log_lines_dropped_total.
"""

import logging
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

if sys.platform != "win32":
    import fcntl

PIPE_BYTES = 1024 * 1024
"""Size of a pipe to a log collector, where the system allows it: lines of a burst are not dropped
because the collector gets no processor for a moment. Linux allows any user this much."""

_ATOMIC = 512
"""POSIX guarantees that a pipe which is ready takes this much without waiting."""

Write = Callable[[bytes], int]
"""Writes as much as fits without waiting; returns the number of bytes. Raises OSError."""


class LogHandler(logging.Handler):
    """Writes each record as one line, or drops it.

    stream: names the file and the encoding. dropped: number of lines that were dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        self._encoding = stream.encoding
        self._write = nonblocking_writer(stream.fileno())
        self._rest = b""
        """The end of a line whose beginning was written."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. logging calls it in one thread at a time."""
        try:
            line = f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")
            if self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            if self._rest:
                self.dropped += 1
                return
            written = self._write(line)
            # Nothing follows a part of a line but its rest.
            self._rest = line[written:] if written else b""
            self.dropped += not written
        except OSError:  # it does not fit, or nobody reads
            self.dropped += 1
        except Exception:
            self.handleError(record)


def dropped_lines() -> int:
    """Return the number of log lines that this process has dropped."""
    handlers = logging.getLogger().handlers
    return sum(handler.dropped for handler in handlers if isinstance(handler, LogHandler))


def nonblocking_writer(fd: int) -> Write:
    """Return a function that writes to a file without waiting.

    O_NONBLOCK would belong to every process that has the file open, such as the shell of a
    terminal. So a pipe or a terminal is opened once more, and a socket is told with each call.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return lambda data: os.write(fd, data)
    if stat.S_ISSOCK(mode) and sys.platform != "win32":
        sock = socket.socket(fileno=os.dup(fd))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT)
    if sys.platform == "linux":
        with suppress(OSError):  # no /proc, or a pipe that another user made
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            if stat.S_ISFIFO(mode):
                with suppress(OSError):
                    if fcntl.fcntl(own, fcntl.F_GETPIPE_SZ) < PIPE_BYTES:
                        fcntl.fcntl(own, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            return lambda data: os.write(own, data)
    if sys.platform == "win32":
        return lambda data: os.write(fd, data)
    return lambda data: _write_while_ready(fd, data)


def _write_while_ready(fd: int, data: bytes) -> int:
    """Write to a file that other processes may write to as well."""
    written = 0
    while written < len(data) and select.select([], [fd], [], 0)[1]:
        written += os.write(fd, data[written : written + _ATOMIC])
    return written
