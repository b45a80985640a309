"""Checks the bytes of an ONNX model before ONNX Runtime parses them.

A model may keep its weights in other files, by paths that may lead anywhere; only the bytes whose
checksum was verified may be read. So the protocol buffer is walked here, as ONNX's `onnx.proto`
numbers its fields, and every reference to another file is refused.
"""

from collections.abc import Iterator

from ...model_files.load_errors import InvalidArtifact
from ...model_files.zip_check import content_hint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

# The fields that lead to tensors, by message: number -> kind of the message in it.
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_GRAPH = 7
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
MAX_DEPTH = 100


class _Malformed(Exception):
    """The bytes are no protocol buffer."""


def check_model(data: bytes) -> None:
    """Check a model before a parser sees it. Raises InvalidArtifact."""
    try:
        has_graph = any(number == _GRAPH for number, _, _ in _fields(memoryview(data)))
        _refuse_external_data(memoryview(data), "model", 0)
    except _Malformed:
        has_graph = False
    if not has_graph:
        hint = content_hint(data)
        raise InvalidArtifact(f"the artifact is not a valid ONNX model{hint.remark}", hint.remedy)


def _refuse_external_data(message: memoryview, kind: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidArtifact("the artifact's graphs are nested too deeply")
    for number, wire, value in _fields(message):
        if kind == "tensor" and number in {_EXTERNAL_DATA, _DATA_LOCATION} and value != 0:
            raise InvalidArtifact(
                "the artifact keeps weights in other files, which is unsupported",
                "Save the model as one file: onnx.save(model, file, save_as_external_data=False).",
            )
        inner = _MESSAGES[kind].get(number)
        if inner is not None and wire == _BYTES and isinstance(value, memoryview):
            _refuse_external_data(value, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """The fields of a message: number, wire type, and the integer or the bytes in it."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise _Malformed
        if not number or place + size > len(message):
            raise _Malformed
        yield number, wire, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """An integer of at most 64 bits, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _Malformed
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that another byte follows
            return value, place
    raise _Malformed
