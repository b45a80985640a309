"""What the container, or any other control group, allows: processors and memory. Linux only."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ...settings import ServingSettings
from ...text import human_bytes
from .finding import Finding

PROCESS = 96 * 2**20
"""Bytes that a process has without its model: Python, NumPy, FastAPI, rounded up."""


def check_container(
    settings: ServingSettings, model_bytes: int, root: Path = Path("/")
) -> Iterator[Finding]:
    """Whether workers and model fit into what the control group allows.

    model_bytes: of the model's files. root: of the file system, for tests.
    """
    processors, memory = processor_limit(root), memory_limit(root)
    if processors is None:
        yield Finding("processors", "no limit")
    elif settings.workers > max(1, processors):
        text = f"{settings.workers} workers for {processors:g} processors"
        remedy = f"SERVING_WORKERS={max(1, int(processors))}, or a higher limit"
        yield Finding("processors", text, remedy, drifted=True)
    else:
        yield Finding("processors", f"limit {processors:g}, workers {settings.workers}")
    # A reload holds two models, and each worker its own buffers.
    each = PROCESS + settings.max_buffered_bytes
    needed = settings.workers * each + 2 * model_bytes
    if memory is None:
        yield Finding("memory", "no limit")
    elif memory < needed:
        text = f"limit {human_bytes(memory)}; it may need {human_bytes(needed)}"
        remedy = f"a limit of {human_bytes(needed)} at least, or less SERVING_MAX_BUFFERED_BYTES"
        yield Finding("memory", text, remedy, drifted=True)
    else:
        yield Finding(
            "memory", f"limit {human_bytes(memory)}, at least {human_bytes(needed)} needed"
        )


def processor_limit(root: Path) -> float | None:
    """The processors that the control group may use, None without a limit (cgroups 2, then 1)."""

    def of(group: Path) -> float | None:
        quota, _, period = (group / "cpu.max").read_text().partition(" ")
        return None if quota == "max" else int(quota) / int(period)

    def of_first_version(group: Path) -> float | None:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota / int((group / "cpu.cfs_period_us").read_text())

    return _lowest(root, "", of) or _lowest(root, "cpu", of_first_version)


def memory_limit(root: Path) -> float | None:
    """The bytes that the control group may use, None without a limit (cgroups 2, then 1)."""

    def of(group: Path) -> float | None:
        text = (group / "memory.max").read_text().strip()
        return None if text == "max" else int(text)

    def of_first_version(group: Path) -> float | None:
        limit = int((group / "memory.limit_in_bytes").read_text())
        return None if limit >= 2**60 else limit  # which is how it says that there is none

    return _lowest(root, "", of) or _lowest(root, "memory", of_first_version)


def _lowest(root: Path, controller: str, read: Callable[[Path], float | None]) -> float | None:
    """The lowest limit of the process's control group and of those above it.

    controller: of the first version; empty for the second. In a container the file system of
    control groups may begin at the container's own.
    """
    top = root / "sys/fs/cgroup" / controller
    own = top / _own_group(root, controller)
    limits = []
    for group in (own, *own.parents):
        if group.is_relative_to(top):
            with suppress(OSError, ValueError):  # the root group has no such file
                limits.append(read(group))
    return min((limit for limit in limits if limit is not None), default=None)


def _own_group(root: Path, controller: str) -> str:
    """The path of the process's control group below the mount."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    return ""
