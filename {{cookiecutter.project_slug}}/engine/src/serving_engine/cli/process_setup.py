"""What a process of the command line needs before its slow imports: signals and open files."""

import os
import signal
import sys


def open_standard_streams() -> None:
    """Open the standard streams that the process was started without, as /dev/null.

    Else the next file that is opened gets the number of standard error, and log lines go there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            os.set_inheritable(fd, True)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def end_on_signals() -> None:
    """End with code 0 on SIGINT and SIGTERM, and ignore SIGHUP, until the service handles them."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        # No request is in progress and no file is half-written: the process may end at once.
        signal.signal(sig, lambda *_: os._exit(0))
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is no model to reload yet
