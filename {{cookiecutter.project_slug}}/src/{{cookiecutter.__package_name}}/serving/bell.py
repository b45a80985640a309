"""What wakes the supervisor: signals that people send, and children that end."""

import select
import signal
import socket
import sys

from .crew import ORDERS


class Bell:
    """Takes over the signals of this process.

    signals: those that came, in order; whoever handles one takes it out.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._bell, ring = socket.socketpair()
        ring.setblocking(False)
        signal.set_wakeup_fd(ring.detach(), warn_on_full_buffer=False)
        for sig in ORDERS:
            signal.signal(sig, lambda number, _frame: self.signals.append(number))
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait(self, seconds: float) -> None:
        """Wait for so long at most, or until something happens."""
        if select.select([self._bell], [], [], seconds)[0]:
            self._bell.recv(4096)

    def close(self) -> None:
        """Let signals ring no more, for the socket will go before the interpreter does."""
        signal.set_wakeup_fd(-1)
