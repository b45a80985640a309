"""A terminal: a command runs in it, keys are pressed, and what it shows is kept."""

import os
import signal
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from types import TracebackType
from typing import Any, Self

from . import processes
from .services import PATIENCE, wait_until

ROWS = 50

END = b"\0"
"""Written after all that a command has written."""

OPEN = 'exec <"$0" >"$0" 2>&1\n'
"""Lets a shell that leads a session read and write a terminal: it becomes that of the session, so
that Ctrl-C reaches all that runs in it."""


class Terminal:
    """One command after another, each with this terminal: `with Terminal(variables) as terminal`.

    Leaving ends what still runs in it.
    """

    def __init__(self, environment: Mapping[str, str], columns: int = 100) -> None:
        self._columns = columns
        # The size of another terminal, which readline puts there, would count more than its own,
        # and who works at a terminal is no CI, which shows no bars.
        others = {"COLUMNS", "LINES", "CI"}
        self._environment = {name: environment[name] for name in environment if name not in others}
        self._running: Popen[Any] | None = None
        self._shown = bytearray()
        self._read = 0

    def __enter__(self) -> Self:
        import fcntl  # these three are not there on Windows
        import pty
        import termios

        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, self._columns, 0, 0))
        self._reader = threading.Thread(target=self._keep)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._running:
            if self.running():
                self.press("\x03\x04")  # ends what runs, and a shell that asks for more
                with suppress(TimeoutExpired):
                    self._running.wait(PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
        os.close(self._slave)
        self._reader.join(PATIENCE)
        os.close(self._master)

    def _keep(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has the terminal open any more
                return
            self._shown += data

    def start(self, command: str, folder: Path) -> None:
        """Run a command of bash in a folder, after the last one has ended, which is to be seen
        no more."""
        if self._running:
            self.ended()
        self._shown.clear()
        self._read = 0
        self._running = processes.start(
            ["bash", "-c", OPEN + command.strip(), os.ttyname(self._slave)],
            death=signal.SIGTERM,  # which uv hands on, to the service that it runs
            cwd=folder,
            env=self._environment,
            start_new_session=True,
        )

    def press(self, keys: str) -> None:
        """Press keys, as "\\n" for Enter or "\\x03" for Ctrl-C."""
        os.write(self._master, keys.encode())

    @property
    def shown(self) -> str:
        """What is to be seen since the command was started."""
        return self._shown.decode(errors="replace").replace("\r", "")

    @property
    def unread(self) -> str:
        """What is to be seen since it was read last."""
        return self.shown[self._read :]

    def read(self) -> str:
        """All that is unread; from now on, it is read."""
        unread = self.unread
        self._read += len(unread)
        return unread

    def wait_for(self, text: str) -> None:
        """Wait until a text is to be seen in what is unread; read up to its end."""

        def there() -> bool:
            unread = self.unread
            assert text in unread or self.running(), f"it ended without {text}: {unread}"
            return text in unread

        wait_until(there)
        self._read += self.unread.index(text) + len(text)

    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._running is not None and self._running.poll() is None

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait until the command has ended and all that it wrote is to be seen; its exit code."""
        assert self._running is not None
        code = self._running.wait(patience)
        os.write(self._slave, END)
        wait_until(lambda: self._shown.endswith(END))
        del self._shown[-len(END) :]
        return code
