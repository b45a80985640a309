"""Open Inference messages: a request's JSON and raw bytes to tensors, tensors to a response.

Sources: the Open Inference Protocol (REST), and Triton's binary tensor data extension: the raw
bytes of the tensors with `binary_data_size` follow the JSON, in the order of the tensors.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic_core import SchemaValidator, ValidationError, core_schema

from ...errors import InvalidInput, InvalidJSON
from ...memory import load_json, reserve
from ...schema.error_messages import field_errors
from ...schema.predictions import JSON_COPIES, MAX_ESCAPE, MAX_NUMBER
from .content_types import check_output, check_request, decode_input
from .datatypes import DATATYPES, Values, from_bytes, from_json, to_bytes
from .tensors import Tensor, Tensors

MAX_DIMENSIONS = 8
MAX_TENSORS = 10_000
_MICROSECONDS = 1_000_000
_UNSUPPORTED = ("classification", "shared_memory_region")
"""Output parameters of unsupported extensions; a response that ignored them would be wrong."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request.

    outputs: the requested names, each with whether it is sent as raw bytes. timeout: seconds that
    the client waits for a response; None for the server's own timeout.
    """

    tensors: list[Tensor]
    outputs: list[tuple[str, bool]]
    id: str | None = None
    timeout: float | None = None


def parse_request(body: bytes, header_length: int | None, tensors: Tensors) -> InferenceRequest:
    """Parse a request.

    header_length: bytes of JSON before the raw tensors; None if the body is JSON, and 0 if the
    body is the model's only input, of one row.
    Raises InvalidJSON or InvalidInput.
    """
    if header_length == 0:
        return _raw(body, tensors)
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise InvalidInput("Inference-Header-Content-Length is more than the body's length.")
    document = _decode(body if length == len(body) else body[:length], tensors)
    raw = _Raw(memoryview(body)[length:], header_length is not None)
    check_request(document)
    inputs = [_tensor(fields, raw) for fields in document["inputs"]]
    raw.end()
    outputs = _requested_outputs(document, tensors)
    timeout = (document.get("parameters") or {}).get("timeout")
    seconds = timeout and timeout / _MICROSECONDS
    return InferenceRequest(inputs, outputs, document.get("id"), seconds)


def write_response(
    request: InferenceRequest, tensors: list[Tensor], name: str, version: str
) -> tuple[bytes, int | None]:
    """Return the body of a response, and the length of its JSON; None if all of it is JSON.

    tensors: the requested outputs, in their order.
    """
    raw: list[bytes] = []
    outputs = []
    for tensor, (_, binary) in zip(tensors, request.outputs, strict=True):
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        if binary:
            raw.append(to_bytes(tensor.datatype, tensor.values))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            values = tensor.values
            output["data"] = values if isinstance(values, list) else values.ravel()
        outputs.append(output)
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    reserve(JSON_COPIES * sum(map(_json_bytes, outputs)))
    option = orjson.OPT_SERIALIZE_NUMPY | (0 if raw else orjson.OPT_APPEND_NEWLINE)
    header = orjson.dumps({**document, "outputs": outputs}, option=option)
    return (b"".join([header, *raw]), len(header)) if raw else (header, None)


def _json_bytes(output: dict[str, Any]) -> int:
    """Return the most bytes that the values of an output can have in JSON."""
    values = output.get("data", ())
    characters = sum(map(len, values)) if isinstance(values, list) else 0
    return MAX_NUMBER * len(values) + MAX_ESCAPE * characters


class _Raw:
    """The raw bytes after the JSON, which the tensors take in their order."""

    def __init__(self, rest: memoryview, announced: bool) -> None:
        self._rest = rest
        self._announced = announced

    def take(self, size: int) -> memoryview:
        if not self._announced:
            raise InvalidInput("Binary tensors need the header Inference-Header-Content-Length.")
        if size > len(self._rest):
            raise InvalidInput("The body is shorter than the sum of binary_data_size.")
        data = self._rest[:size]
        self._rest = self._rest[size:]
        return data

    def end(self) -> None:
        if len(self._rest):
            raise InvalidInput("The body is longer than the sum of binary_data_size.")


def _raw(body: bytes, tensors: Tensors) -> InferenceRequest:
    """Parse a body without JSON: one input, one row, and every output as raw bytes."""
    if len(tensors.inputs) != 1:
        raise InvalidInput("A body without JSON requires a model of one input.")
    (spec,) = tensors.inputs
    shape = (1, *spec.shape[1:])
    if spec.datatype == "BYTES":  # the one string, without its length
        try:
            values: Values = [str(body, "utf-8")]
        except UnicodeDecodeError:
            raise InvalidInput("The body is not text in UTF-8.") from None
    else:
        values = from_bytes(spec.datatype, shape, memoryview(body))
    tensor = Tensor(spec.name, spec.datatype, shape, values)
    return InferenceRequest([tensor], [(output.name, True) for output in tensors.outputs])


def _tensor(fields: dict[str, Any], raw: _Raw) -> Tensor:
    name = fields["name"]
    datatype = fields["datatype"]
    shape = tuple(fields["shape"])
    size = (fields.get("parameters") or {}).get("binary_data_size")
    if datatype not in DATATYPES:
        raise InvalidInput(f"A tensor must have a datatype of {', '.join(sorted(DATATYPES))}.")
    if (size is None) == ("data" not in fields):
        raise InvalidInput("A tensor must have either data or binary_data_size.")
    try:
        if size is None:
            values = from_json(datatype, shape, fields["data"])
        else:
            values = from_bytes(datatype, shape, raw.take(size))
        values = decode_input(fields, values)
    except InvalidInput as error:
        raise InvalidInput(f"The tensor {name[:200]}: {error.detail}") from None
    return Tensor(name, datatype, shape, values)


def _requested_outputs(document: dict[str, Any], tensors: Tensors) -> list[tuple[str, bool]]:
    binary = bool((document.get("parameters") or {}).get("binary_data_output"))
    known = [output.name for output in tensors.outputs]
    if not document.get("outputs"):
        return [(name, binary) for name in known]
    requested = []
    for output in document["outputs"]:
        if output["name"] not in known:
            raise InvalidInput(f"Unknown output: the model has {', '.join(known)}.")
        parameters = output.get("parameters") or {}
        unsupported = [name for name in _UNSUPPORTED if parameters.get(name)]
        if unsupported:
            raise InvalidInput(f"The output parameter {unsupported[0]} is not supported.")
        check_output(output)
        output_binary = parameters.get("binary_data")
        requested.append((output["name"], binary if output_binary is None else output_binary))
    return requested


def _decode(header: bytes, tensors: Tensors) -> dict[str, Any]:
    """Decode the JSON of a request, and check all of it but the data of its tensors.

    Half a million brackets fit into 1 MiB: a body with far more than its data can have is rejected
    before it is decoded.
    """
    if tensors.exceeds_containers(header):
        raise InvalidInput(f"The request has more than {tensors.max_rows} rows.")
    try:
        document = load_json(header)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON.because(error) from None
    try:
        _REQUEST.validate_python(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            "The body does not have the form of a request.", field_errors(details, ())
        ) from None
    return dict(document)


def _object(required: dict[str, Any], optional: dict[str, Any]) -> core_schema.CoreSchema:
    """An object; other members are ignored, and an optional member may be null."""
    fields = {name: core_schema.typed_dict_field(schema) for name, schema in required.items()}
    for name, schema in optional.items():
        fields[name] = core_schema.typed_dict_field(
            core_schema.nullable_schema(schema), required=False
        )
    return core_schema.typed_dict_schema(fields)


_STRING = core_schema.str_schema(strict=True)
_BOOL = core_schema.bool_schema(strict=True)
_COUNT = core_schema.int_schema(strict=True, ge=0, le=2**63 - 1)
_PARAMETERS = _object({}, {"binary_data_output": _BOOL, "content_type": _STRING, "timeout": _COUNT})
_INPUT = _object(
    {
        "name": _STRING,
        "datatype": _STRING,
        "shape": core_schema.list_schema(
            _COUNT, min_length=1, max_length=MAX_DIMENSIONS, strict=True
        ),
    },
    {"parameters": _object({}, {"binary_data_size": _COUNT, "content_type": _STRING})},
)
_OUTPUT = _object(
    {"name": _STRING}, {"parameters": _object({}, {"binary_data": _BOOL, "content_type": _STRING})}
)
_REQUEST = SchemaValidator(
    _object(
        {
            "inputs": core_schema.list_schema(
                _INPUT, min_length=1, max_length=MAX_TENSORS, strict=True, fail_fast=True
            )
        },
        {
            "id": _STRING,
            "parameters": _PARAMETERS,
            "outputs": core_schema.list_schema(_OUTPUT, max_length=MAX_TENSORS, fail_fast=True),
        },
    )
)
