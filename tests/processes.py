"""Processes that tests start. Each ends with the process that started it, however that ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_SET_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG


def run(
    command: Any, *, death: int = signal.SIGTERM, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` of a process that ends with this one.

    death: the signal that ends it. SIGTERM ends `uv run` and what that has started.
    """
    return subprocess.run(command, preexec_fn=_in_new_process(death), **options)


def start(command: Any, *, death: int = signal.SIGKILL, **options: Any) -> subprocess.Popen[Any]:
    """`subprocess.Popen` of a process that ends with this one: with the thread that calls this."""
    return subprocess.Popen(command, preexec_fn=_in_new_process(death), **options)


def fork() -> int:
    """`os.fork` of a process that ends with this one, in a session of its own."""
    parent = os.getpid()
    process = os.fork()
    if not process:
        die_with_parent(parent=parent)
        os.setsid()
    return process


def die_with_parent(death: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Let this process get a signal when its parent ends, however that happens. Linux only.

    parent: who that is; where it has ended already, this process ends now.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_SET_DEATH_SIGNAL, death)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _in_new_process(death: int) -> Callable[[], None] | None:
    """What a new process runs before its program. Other systems have no such signal."""
    return partial(die_with_parent, death, os.getpid()) if _LIBC else None
