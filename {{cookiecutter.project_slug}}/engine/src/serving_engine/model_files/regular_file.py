"""Opens a file of a model directory: a regular file, never a pipe that makes the reader wait."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_WITHOUT_WAITING: int = getattr(os, "O_NONBLOCK", 0)
"""A named pipe is opened at once, also if nobody writes to it."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises OSError, also for a named pipe, a socket, a device or a directory.
    """
    file = open(path, "rb", opener=_open)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)
