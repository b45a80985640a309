"""The heap of a process that has its model and will only serve from now on.

Full collections walk the whole heap of scikit-learn: at 32 connections they took p99 from 4 ms
to 118 ms. What was allocated until now is frozen out of them, and they come rarely.
"""

import ctypes
import gc
import sys

# mallopt(3): what is larger than the one is not taken from the heap, and when more than the other
# is free at the heap's end it is given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST = 32 * 2**20  # more is refused
_COPIES = 4
_MOST_KEPT = 64 * 2**20


def rest_collector() -> None:
    """No collections until the heap is settled: what is imported stays, and a start is quicker."""
    gc.disable()


def keep_freed(body_bytes: int) -> None:
    """Keep what the largest requests need, instead of giving it back after each.

    body_bytes: most that a body may have. Memory from the system comes page by page: reading
    2.4 MB took 3.5 ms of which 2.7 were that.
    """
    _call_libc("mallopt", _MMAP_THRESHOLD, _LARGEST)
    _call_libc("mallopt", _TRIM_THRESHOLD, min(_COPIES * body_bytes, _MOST_KEPT))


def settle_heap() -> None:
    """Give back what loading left over, then keep the collector away from what stays."""
    gc.collect()
    trim_heap()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    gc.enable()


def trim_heap() -> None:
    """Give free memory back to the system."""
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # glibc has it, musl does not
        if function is not None:
            function(*arguments)
