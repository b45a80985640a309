"""Processes of the service that begin with scikit-learn imported already: a second less for each
start. They are forked from `nursery.py` and are the service's own in every other way: signals, exit
codes, standard error, sockets.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from . import nursery

PROJECT = Path(__file__).parents[2]
PATIENCE = 60.0

OWNER = "TESTS_PROCESS"
"""Variable with the id of the process that was told to run the tests."""


class Child:
    """What the tests use of subprocess.Popen; standard output goes with the errors, or nowhere."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], *, output: bool = False
    ) -> None:
        order: nursery.Order = (command[1:], dict(environment), output)
        reader, writer = os.pipe()
        self.stderr = os.fdopen(reader, encoding="utf-8")
        self._nursery = _connect()
        socket.send_fds(self._nursery, [json.dumps(order).encode()], [writer])
        os.close(writer)
        self._nursery.settimeout(PATIENCE)
        self.pid = int(self._nursery.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._nursery.settimeout(timeout)
            try:
                self.returncode = int(self._nursery.recv(32))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("serve", timeout or 0) from None
            self._nursery.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _connect() -> socket.socket:
    """A connection to the nursery; where there is none yet, it is started."""
    owner, started = os.environ[OWNER], 0.0
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(nursery.address(owner))
        except ConnectionRefusedError:
            connection.close()
        else:
            return connection
        if not started:
            started = time.monotonic()
            words = [sys.executable, "-m", nursery.__name__, owner, str(PROJECT)]
            paths = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
            os.posix_spawn(words[0], words, {**os.environ, "PYTHONPATH": paths}, setsid=True)
        assert time.monotonic() - started < PATIENCE, "the nursery did not start"
        time.sleep(0.01)
