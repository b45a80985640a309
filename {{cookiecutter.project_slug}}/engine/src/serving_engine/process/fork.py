"""Forked processes: a child resets inherited signal handlers, and ends with the supervisor."""

import ctypes
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import ServiceExit
from .signal_wakeup import SUPERVISOR_SIGNALS

# Options of prctl(2): PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER.
_SET_DEATH_SIGNAL = 1
_SET_NAME = 15
_SET_SUBREAPER = 36

_TASKS = Path("/proc/self/task")
_RESTARTS_ITSELF = {"jemalloc_bg_thd"}
"""Arrow's allocator (pandas brings it) prepares for forks and starts its thread again on demand."""

logger = logging.getLogger("server")


def fork(run: Callable[[], object], supervisor: int, name: str) -> int:
    """Run `run` in a child of this process; return its process id.

    supervisor: id of the process that takes the child with it when it ends, for any reason. The
    child ignores the signals that people send: Ctrl-C and a kill of the whole group reach every
    process, and only the supervisor handles them. name: the child's name in `ps -o comm`.
    A ServiceExit becomes one line in the log, and its exit code.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for sig in SUPERVISOR_SIGNALS:
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
    run: Callable[[], object], supervisor: int, name: str, record_pid: Callable[[int], None]
) -> None:
    """Run `run` in a process whose parent is the supervisor, not this process.

    record_pid: called with its process id before it can end. The supervisor must have called
    `adopt_orphans`. Raises OSError if the system has no room for another process.
    """
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if status:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return
    code = 1
    try:
        record_pid(fork(run, supervisor, name))
        code = 0
    finally:
        os._exit(code)


def adopt_orphans() -> None:
    """Make this process the parent of orphaned grandchildren."""
    _prctl(_SET_SUBREAPER, 1)


def reap() -> list[tuple[int, int]]:
    """Return the children that have ended: process id, and exit code or negative signal number."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def other_threads() -> list[str]:
    """Return the names of all threads but this one, which alone a fork copies.

    Threads of native libraries are included, unless the system has no /proc.
    """
    own = str(threading.get_native_id())
    names = []
    try:
        for task in _TASKS.iterdir():
            if task.name != own:
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    names.append((task / "comm").read_text().strip())
    except OSError:
        this = threading.current_thread()
        names = [thread.name for thread in threading.enumerate() if thread is not this]
    return [name for name in names if name not in _RESTARTS_ITSELF]


def _die_with(supervisor: int) -> None:
    """Make the kernel kill this process when the supervisor ends."""
    deadline = time.monotonic() + 1
    while os.getppid() != supervisor and time.monotonic() < deadline:
        time.sleep(0.001)  # the process that forked this one is about to end
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != supervisor:  # it ended before the line above
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
