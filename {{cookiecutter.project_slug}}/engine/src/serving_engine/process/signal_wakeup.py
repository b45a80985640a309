"""The supervisor's self-pipe: signals and the end of a child wake it up."""

import select
import signal
import socket

SUPERVISOR_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that people send. The supervisor counts them; its children ignore them."""


class SignalWakeup:
    """Takes over the signals of this process.

    signals: signals that arrived, in order; the caller removes those that it handles.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._receiver, sender = socket.socketpair()
        sender.setblocking(False)
        signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
        for sig in SUPERVISOR_SIGNALS:
            signal.signal(sig, lambda number, _frame: self.signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait(self, seconds: float) -> None:
        """Wait until a signal arrives or a child ends, for `seconds` at most."""
        if select.select([self._receiver], [], [], seconds)[0]:
            self._receiver.recv(4096)

    def close(self) -> None:
        """Stop the wakeups: the socket is closed before the interpreter ends."""
        signal.set_wakeup_fd(-1)
