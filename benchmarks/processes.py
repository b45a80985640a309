"""All processes of a server, those too that leave its group or lose their parent."""

import ctypes
import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""
_MARK = "BENCH_SERVER"
_PATIENCE = 8.0


def adopt_orphans() -> None:
    """Become the parent of descendants whose own has ended: else nobody might reap them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this system has no subreapers: Linux has, since 3.4")


def new_mark() -> dict[str, str]:
    """A variable that a server's processes inherit, and no others have."""
    return {_MARK: secrets.token_hex(16)}


def processes_of(process: subprocess.Popen[bytes], mark: dict[str, str]) -> list[Path]:
    """The /proc folders of a server's processes.

    They are its descendants, its session's, and those with its mark: a daemon is no longer among
    the first two, and a process that renames itself may lose the mark.
    """
    needle = f"{_MARK}={mark[_MARK]}".encode()
    parents, found = {}, {process.pid}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[pid] = int(fields[1])
            if int(fields[3]) == process.pid or needle in (folder / "environ").read_bytes():
                found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [Path("/proc", str(pid)) for pid in sorted(found & parents.keys())]


def memory(folders: list[Path]) -> float:
    """MiB that processes hold, what they share counted once (PSS)."""
    kibibytes = 0
    for folder in folders:
        with suppress(OSError):  # it has ended, and awaits its parent
            rollup = (folder / "smaps_rollup").read_text()
            kibibytes += int(rollup.partition("\nPss:")[2].split()[0])
    return kibibytes / 1024


def cpu_seconds(folders: list[Path]) -> float:
    """Processor time that processes have taken."""
    ticks = 0
    for folder in folders:
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pin(folders: list[Path], core: str) -> None:
    """Pin every thread of processes, and what they start later, to cores as taskset takes them."""
    for folder in folders:
        command = ["taskset", "--all-tasks", "--pid", "--cpu-list", core, folder.name]
        subprocess.run(command, check=False, capture_output=True)  # some have ended meanwhile


def end(process: subprocess.Popen[bytes], mark: dict[str, str]) -> None:
    """Ask a server to end, then end what is left of its processes."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sig)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
            break
    deadline = time.monotonic() + _PATIENCE
    while left := [pid for pid in _pids(process, mark) if not _is_reaped(pid, process)]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of the server do not end: {left}")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _pids(process: subprocess.Popen[bytes], mark: dict[str, str]) -> list[int]:
    return [int(folder.name) for folder in processes_of(process, mark)]


def _is_reaped(pid: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended and is gone; an orphan that was adopted is gone by this."""
    if pid == process.pid:
        return process.poll() is not None
    with suppress(ChildProcessError):  # it is another's
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
