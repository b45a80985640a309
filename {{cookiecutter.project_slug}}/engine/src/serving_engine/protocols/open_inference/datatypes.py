"""The datatypes of Open Inference tensors: JSON or raw bytes to values, and values back.

Sources: the Open Inference Protocol, "Tensor Data Types"; Triton's binary tensor data extension
(little-endian, row-major, no padding; BYTES is a 32-bit length before every element).
"""

import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BF16": "<u2"}
INTEGERS = {
    f"{sign}INT{8 * size}": f"<{kind}{size}"
    for sign, kind in (("", "i"), ("U", "u"))
    for size in (1, 2, 4, 8)
}
_NUMBERS = {**FLOATS, **INTEGERS, "BOOL": "?"}
DATATYPES = frozenset({*_NUMBERS, "BYTES"})

_JSON_TYPES: dict[str, set[type]] = {
    **{name: {int, float} for name in FLOATS},
    **{name: {int} for name in INTEGERS},
    "BOOL": {bool},
    "BYTES": {str},
}
_LENGTH = struct.Struct("<I")

Values = NDArray[Any] | list[Any]
"""The elements of a tensor in row-major order: an array, or a list if some are strings or null."""


def from_json(datatype: str, shape: Sequence[int], data: Any) -> Values:
    """Convert the `data` of a tensor in a JSON request, nested or flat, to its values.

    null is a missing value. Raises InvalidInput, whose message does not repeat a value.
    """
    if not isinstance(data, list):
        raise InvalidInput("data must be an array.")
    flat = _flatten(data, shape)
    kinds = set(map(type, flat))
    missing = type(None) in kinds
    if not kinds - {type(None)} <= _JSON_TYPES[datatype] or datatype == "BF16":
        raise InvalidInput(f"data has an element that is invalid for {datatype} in JSON.")
    if datatype == "BYTES" or (missing and datatype not in FLOATS):
        return flat
    try:
        with np.errstate(over="ignore"):  # it becomes infinite, and is rejected later
            return np.array(flat, dtype=_NUMBERS[datatype])
    except OverflowError:
        raise InvalidInput(f"data has a number out of the range of {datatype}.") from None


def from_bytes(datatype: str, shape: Sequence[int], data: memoryview) -> Values:
    """Convert the raw bytes of a tensor to its values, without a copy where NumPy has the datatype.

    Raises InvalidInput, before it allocates memory for a shape that does not match the bytes.
    """
    count = prod(shape)
    if datatype == "BYTES":
        return _strings(data, count)
    kind = np.dtype(_NUMBERS[datatype])
    if len(data) != count * kind.itemsize:
        raise InvalidInput(
            f"{count} elements of {datatype} have {count * kind.itemsize} bytes, not {len(data)}."
        )
    if datatype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, kind).astype("<u4") << 16).view("<f4")
    if datatype == "BOOL" and len(data) and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidInput("a byte of BOOL must be 0 or 1.")
    return np.frombuffer(data, kind)


def to_bytes(datatype: str, values: Values) -> bytes:
    """Convert the values of a tensor to raw bytes, as `from_bytes` reads them."""
    if datatype != "BYTES":
        return np.ascontiguousarray(values, dtype=_NUMBERS[datatype]).tobytes()
    encoded = [str(text).encode() for text in values]
    return b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in encoded))


def _flatten(data: list[Any], shape: Sequence[int]) -> list[Any]:
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise InvalidInput("data does not match the shape.")
        for size in shape[1:]:
            if any(type(part) is not list or len(part) != size for part in data):
                raise InvalidInput("data does not match the shape.")
            data = list(chain.from_iterable(data))
    if len(data) != prod(shape):
        raise InvalidInput("data does not have the number of elements of the shape.")
    return data


def _strings(data: memoryview, count: int) -> list[str]:
    texts: list[str] = []
    offset = 0
    try:
        while offset < len(data):
            start = offset + _LENGTH.size
            (length,) = _LENGTH.unpack_from(data, offset)
            offset = start + length
            texts.append(str(data[start:offset], "utf-8"))
    except (struct.error, UnicodeDecodeError):
        raise InvalidInput("BYTES must be elements of UTF-8, each after its length.") from None
    if offset != len(data) or len(texts) != count:
        raise InvalidInput("the lengths in BYTES do not match the shape and the size.")
    return texts
