"""The memory report: the memory of a service's processes, and that of processes without sharing."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ..text import human_bytes

logger = logging.getLogger("memory")


def log_memory_report(
    model_bytes: int, workers: Sequence[int], others: Sequence[int], *, shared: bool = True
) -> None:
    """Log one line about the memory of a service.

    model_bytes: memory of the model. workers, others: process ids; others are the supervisor and
    the loader. shared: whether the workers share the model, or each has loaded its own.
    A page that n processes share counts as 1/n for each (PSS). Workers with a copy each would
    still share the pages that are mapped from files: programs and libraries.
    """
    try:
        rollups = [_rollup(pid) for pid in workers]
        total = sum(rollup["Pss"] for rollup in [*rollups, *map(_rollup, others)])
    except (OSError, KeyError):
        logger.info("memory report: not available, the system has no /proc/PID/smaps_rollup")
        return
    count = len(rollups)
    in_common = sum(rollup["Shared_Clean"] + rollup["Shared_Dirty"] for rollup in rollups) // count
    private = sum(rollup["Private_Clean"] + rollup["Private_Dirty"] for rollup in rollups) // count
    copies = sum(rollup["Anonymous"] + rollup["Pss"] - rollup["Pss_Anon"] for rollup in rollups)
    logger.info(
        "memory: the model takes %s%s; each of %d workers shares %s and has %s private; "
        "%s in total, %s if every worker had its own copy",
        human_bytes(model_bytes),
        "" if shared else " in every worker, as it may not be shared by fork",
        count,
        human_bytes(in_common),
        human_bytes(private),
        human_bytes(total),
        human_bytes(copies),
        extra={
            "model_bytes": model_bytes,
            "shared_bytes": in_common,
            "private_bytes": private,
            "total_bytes": total,
            "copies_bytes": copies,
        },
    )


def anonymous_bytes(pid: int | str) -> int:
    """Return the bytes of a process's memory that no file backs; 0 if they are unknown."""
    try:
        return _rollup(pid)["Anonymous"]
    except (OSError, KeyError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Return the bytes of memory of a process, its part of what it shares; 0 if unknown."""
    try:
        return _rollup(pid)["Pss"]
    except (OSError, KeyError):
        return 0


def _rollup(pid: int | str) -> dict[str, int]:
    """Return the sums over all memory mappings of a process, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(kibibytes) * 1024 for name, kibibytes, *_ in fields}
