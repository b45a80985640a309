"""Processes of the service that begin with scikit-learn imported already: a second less for each
start. They are forked from a process of this kind (multiprocessing's fork server) and are the
service's own in every other way: signals, exit codes, standard error, sockets.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, TextIO

from {{ cookiecutter.__package_name }}.artifact.threads import limit_threads_of_imports

PRELOADED = [f"{__name__.rpartition('.')[0]}.preloaded"]


class Child:
    """What the tests use of subprocess.Popen; standard output goes with the errors, or nowhere."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], *, output: bool = False
    ) -> None:
        limit_threads_of_imports()  # the fork server inherits it, and may not have threads
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        reader, writer = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_become,
            args=(command, dict(environment), writer, output),
            daemon=True,
        )
        self._process.start()
        writer.close()
        self._reader = reader
        self.stderr: TextIO = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    @property
    def returncode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("serve", timeout or 0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _become(
    command: list[str], environment: dict[str, str], errors: Connection, output: bool
) -> None:
    """Run `python -m MODULE ...` or `python -c SCRIPT ...` here."""
    os.setsid()
    os.dup2(errors.fileno(), 2)
    errors.close()
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2 if output else 0, 1)
    os.environ.clear()
    os.environ.update(environment)
    kind, what, *arguments = command[1:]
    sys.argv[:] = [what, *arguments]
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102
    except Exception:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        sys.exit(1)
