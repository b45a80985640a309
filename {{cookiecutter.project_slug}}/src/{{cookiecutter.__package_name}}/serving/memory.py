"""What the processes of a service take, and what they would take without sharing. Linux only."""

import logging
from collections.abc import Sequence
from pathlib import Path

MIB = 2**20

logger = logging.getLogger("memory")


def bill(model_bytes: int, workers: Sequence[int], others: Sequence[int]) -> None:
    """Log it. workers, others: process ids; others are the supervisor and the loader.

    A page that n processes share counts as 1/n for each (PSS). Copies would share what is mapped
    from files, programs and libraries, and nothing else.
    """
    try:
        found = [_rollup(pid) for pid in workers]
        total = sum(page["Pss"] for page in [*found, *map(_rollup, others)])
    except (OSError, KeyError):
        logger.info("the system does not tell what the workers take")
        return
    shared = sum(page["Shared_Clean"] + page["Shared_Dirty"] for page in found) // len(found)
    private = sum(page["Private_Clean"] + page["Private_Dirty"] for page in found) // len(found)
    copies = sum(page["Anonymous"] + page["Pss"] - page["Pss_Anon"] for page in found)
    logger.info(
        "the model takes %s; each of %d workers shares %s and has %s of its own; %s in all, where "
        "copies would take %s",
        *(_mib(model_bytes), len(found), _mib(shared), _mib(private)),
        *(_mib(total), _mib(copies)),
        extra={
            "model_bytes": model_bytes,
            "shared_bytes": shared,
            "private_bytes": private,
            "total_bytes": total,
            "copies_bytes": copies,
        },
    )


def anonymous(pid: int | str) -> int:
    """Bytes of memory that a process has and that come from no file; 0 if nobody tells."""
    try:
        return _rollup(pid)["Anonymous"]
    except (OSError, KeyError):
        return 0


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB" if size < 10 * MIB else f"{size / MIB:.0f} MiB"


def _rollup(pid: int | str) -> dict[str, int]:
    """The sums over all of a process's mappings, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(kibibytes) * 1024 for name, kibibytes, *_ in fields}
