"""Garbage collection and memory allocation of a process that has loaded its model.

Full collections visit the whole heap of scikit-learn: at 32 connections they raised p99 from 4 ms
to 118 ms. So the objects that exist when the model is loaded are excluded from them, and they are
made rare.
"""

import ctypes
import gc
import sys

_TRIM_THRESHOLD = -1  # mallopt(3): more free bytes at the end of the heap are returned
_MMAP_THRESHOLD = -3  # mallopt(3): larger allocations do not come from the heap
_LARGEST_THRESHOLD = 32 * 2**20  # mallopt rejects a larger one
_BODIES_KEPT = 4
_MAX_KEPT = 64 * 2**20


def disable_gc() -> None:
    """Collect no garbage until `freeze_heap`: imports leave none, and the start is quicker."""
    gc.disable()


def tune_malloc(body_bytes: int) -> None:
    """Let malloc reuse the memory of a large request, instead of returning it to the system.

    body_bytes: largest request body. Memory from the system comes page by page: of the 3.5 ms to
    read 2.4 MB, that took 2.7 ms.
    """
    _call_libc("mallopt", _MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    _call_libc("mallopt", _TRIM_THRESHOLD, min(_BODIES_KEPT * body_bytes, _MAX_KEPT))


def freeze_heap() -> None:
    """Return free memory to the system, then exclude all objects from garbage collection."""
    gc.collect()
    trim_heap()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    gc.enable()


def freeze_objects() -> None:
    """Exclude all objects from garbage collection, at once: requests are being served."""
    gc.freeze()


def trim_heap() -> None:
    """Return free memory to the system."""
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # glibc has it, musl does not
        if function is not None:
            function(*arguments)
