"""Processes that are forked: what a child must undo, and whom it may outlive. Linux only."""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import ServiceExit
from .crew import ORDERS

if sys.platform != "linux":
    raise ImportError("Linux only")

_SET_DEATH_SIGNAL, _SET_NAME, _SET_SUBREAPER = 1, 15, 36  # prctl(2), PR_SET_...

_START_AGAIN = {"jemalloc_bg_thd"}
"""Arrow's allocator (pandas brings it) prepares for forks and starts its thread again on demand."""

logger = logging.getLogger("server")


def fork(run: Callable[[], object], supervisor: int, name: str) -> int:
    """Run `run` in a child of this process, which `ps -o comm` calls `name`; return its process id.

    supervisor: the process with which the child dies, at once, however that ends. Signals that
    people send are left to it: Ctrl-C and a kill of the whole group reach every process, and must
    count once. A ServiceExit becomes one line in the log, and its exit code.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for sig in ORDERS:
            signal.signal(sig, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with(supervisor)
        _prctl(_SET_NAME, name.encode()[:15])
        run()
        code = 0
    except ServiceExit as error:
        logger.critical(str(error))
        code = error.exit_code
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        logger.critical("crashed", exc_info=True)
    finally:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)


def fork_grandchild(
    run: Callable[[], object], supervisor: int, name: str, tell: Callable[[int], None]
) -> None:
    """Run `run` in a process that belongs to the supervisor, not to this one.

    tell: is told its process id before it can end. The supervisor must adopt orphans.
    """
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        tell(fork(run, supervisor, name))
    finally:
        os._exit(0)


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind."""
    _prctl(_SET_SUBREAPER, 1)


def dead_children() -> list[tuple[int, int]]:
    """Children that ended: process id, and exit code or the negative number of a signal."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def kill(pid: int) -> None:
    """End a child at once; a stopped one too."""
    if pid:
        os.kill(pid, signal.SIGKILL)


def lost_in_fork() -> list[str]:
    """Names of the threads that a fork would lose, those of native libraries included."""
    tasks = Path("/proc/self/task")
    names = [
        (task / "comm").read_text().strip()
        for task in tasks.iterdir()
        if task.name != str(os.getpid())
    ]
    return [name for name in names if name not in _START_AGAIN]


def _die_with(supervisor: int) -> None:
    deadline = time.monotonic() + 1
    while os.getppid() != supervisor and time.monotonic() < deadline:
        time.sleep(0.001)  # what forked this process is about to end
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != supervisor:  # ended before the line above
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
