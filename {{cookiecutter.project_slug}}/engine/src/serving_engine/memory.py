"""Bounds a request by the memory that is left, before code that ends the process without it.

orjson 3.13 reads a null pointer where Python cannot allocate an object, in `loads` and in `dumps`,
and pydantic-core 2.50 aborts: under a limit of the address space (`ulimit -v`) one large request
ended the process by a signal. NumPy and Python raise MemoryError.
"""

import mmap
import sys
from typing import Any

import numpy as np
import orjson

_JSON_FACTOR = 64
"""Bytes for each byte of JSON: 13 for orjson's buffer, at most 27 for the objects, as many again
for what pydantic makes of them."""
_SMALL = 2**20
"""Bytes from which memory is asked of the system, so that malloc keeps what it has for reuse."""


def reserve(size: int) -> None:
    """Raise MemoryError unless `size` bytes can be allocated; they are free again afterwards."""
    if size > _SMALL and sys.platform != "win32":
        try:
            mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError:
            pass  # malloc may have as much
        else:
            return
    np.empty(size, np.uint8)


def load_json(body: bytes) -> Any:
    """Decode JSON. Raises orjson.JSONDecodeError, or MemoryError before it runs out."""
    reserve(_JSON_FACTOR * len(body))
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "memory" in error.msg:
            raise MemoryError(error.msg) from None
        raise
