"""NumPy's file format NPY: the default of SageMaker's Python client.

The header is matched, not evaluated, and type and shape are checked against the length of the body
before an array is made. An array of objects is a pickle, and is rejected.
"""

import re
import sys
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

MAX_HEADER = 10_000
_MAGIC = re.compile(rb"\x93NUMPY(?:\x01\x00(?P<short>..)|\x02\x00(?P<long>....))", re.DOTALL)
_HEADER = re.compile(
    rb"\{ *'descr': *'(?P<order>[<>|=]?)(?P<kind>[a-zA-Z])(?P<size>[0-9]{1,9})?', *"
    rb"'fortran_order': *(?P<fortran>True|False), *'shape': *\((?P<shape>[0-9, ]*)\),? *\} *\n?"
)
_SIZES = {"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8}}
_BYTES_PER_CHARACTER = 4
_MAX_DIGITS = 18


def read_npy(body: bytes, columns: int) -> list[list[Any]]:
    """Return the rows of an array of shape (rows, columns), or (columns,) for one row.

    An array of one dimension has a row for each number if the model has one column. Raises
    InvalidInput; the rows are not checked against the signature.
    """
    magic = _MAGIC.match(body)
    length = int.from_bytes(magic["short"] or magic["long"], "little") if magic else 0
    if magic is None or length > MAX_HEADER:
        raise InvalidInput("The body is not an array in NumPy's format 1.0 or 2.0.")
    start = magic.end() + length
    header = _HEADER.fullmatch(body[magic.end() : start])
    if header is None:
        raise InvalidInput("The array must be one of numbers, booleans or texts.")
    dtype, item_size = _dtype(header)
    shape = _shape(header["shape"].decode(), columns)
    if len(body) - start != prod(shape) * item_size:
        raise InvalidInput("The array's type and shape do not match the length of the body.")
    flat = np.frombuffer(body, dtype, offset=start)
    if flat.dtype.kind == "U":
        codes = np.frombuffer(body, f"{flat.dtype.byteorder}u4", offset=start)
        if codes.max(initial=0) > sys.maxunicode:  # NumPy would raise SystemError
            raise InvalidInput("The array has a text that is not Unicode.")
    rows: list[list[Any]] = flat.reshape(shape, order=_order(header)).tolist()
    return rows


def write_npy(values: list[Any]) -> bytes:
    """Return values as an array: of one dimension, or of two if each is a list.

    Labels of different types become texts.
    """
    array: NDArray[Any] = np.array(values)
    if array.dtype.hasobject:
        array = array.astype(str)
    stream = BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _dtype(header: re.Match[bytes]) -> tuple[str, int]:
    """Return the name of the type of the elements, and their size in bytes."""
    kind = header["kind"].decode()
    size = int(header["size"] or 0)
    if kind == "O":
        raise InvalidInput("An array of objects is not read: send numbers, booleans or texts.")
    if (kind != "U" and size not in _SIZES.get(kind, ())) or not size:
        raise InvalidInput("The array must be one of numbers, booleans or texts.")
    name = f"{header['order'].decode()}{kind}{size}"
    return name, size * _BYTES_PER_CHARACTER if kind == "U" else size


def _shape(text: str, columns: int) -> tuple[int, int]:
    """Return the number of rows and of columns."""
    sizes = [size.strip() for size in text.split(",") if size.strip()]
    if all(size.isdigit() and len(size) <= _MAX_DIGITS for size in sizes):
        match [int(size) for size in sizes]:
            case [rows, width] if width == columns:
                return rows, columns
            case [width] if width == columns:
                return 1, columns
            case [rows] if columns == 1:
                return rows, 1
    raise InvalidInput(f"The array must have the shape (rows, {columns}).")


def _order(header: re.Match[bytes]) -> Any:
    return "F" if header["fortran"] == b"True" else "C"
