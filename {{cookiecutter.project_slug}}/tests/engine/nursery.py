"""A process that has imported what a service imports until it listens, and becomes services: they
start a second sooner. One for all processes of a run of the tests; see `children.py`.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

LOOK = 0.5
"""Seconds between two looks for the process that the tests belong to."""

Order = tuple[list[str], dict[str, str], bool]
"""Arguments of the interpreter, environment, and whether standard output goes with the errors."""


def address(owner: str) -> str:
    """Where the nursery of the process with this id listens: in the abstract namespace of Linux."""
    return f"\0nursery-{owner}"


def serve(owner: str) -> Order | None:
    """Fork a child for each order, and tell whoever sent it how the child ended.

    Returns in each child, with what it is to become, and None when the owner is gone.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(address(owner))
        except OSError:
            return None  # another process of the tests was quicker
        listener.listen(64)
        _import()
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        children: dict[int, socket.socket] = {}
        while Path(f"/proc/{owner}").exists():
            ready, _, _ = select.select([listener, woken], [], [], LOOK)
            if woken in ready:
                woken.recv(4096)
                _report(children)
            if listener not in ready:
                continue
            client, _ = listener.accept()
            order, (errors,), _, _ = socket.recv_fds(client, 1 << 20, 1)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for inherited in (woken, wake, client, *children.values()):
                    inherited.close()
                os.dup2(errors, 2)
                os.close(errors)
                arguments, environment, output = json.loads(order)
                return arguments, environment, output
            os.close(errors)
            children[pid] = client
            client.send(str(pid).encode())
        return None


def _import() -> None:
    from {{ cookiecutter.__package_name }}.artifact.threads import limit_threads_of_imports

    limit_threads_of_imports()  # a process that forks may have no threads
    import httptools  # noqa: F401
    import uvloop  # noqa: F401

    from {{ cookiecutter.__package_name }} import app, cli  # noqa: F401
    from {{ cookiecutter.__package_name }}.artifact.runtimes import scikit_learn  # noqa: F401
    from {{ cookiecutter.__package_name }}.serving import server  # noqa: F401


def _report(children: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with children.pop(ended[0]) as client, suppress(OSError):
                client.send(str(os.waitstatus_to_exitcode(ended[1])).encode())


def become(order: Order) -> None:
    """Run `python -m MODULE ...` or `python -c SCRIPT ...` here."""
    (kind, what, *arguments), environment, output = order
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2 if output else 0, 1)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = [what, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    if found := serve(sys.argv[1]):
        become(found)
