"""Open Inference messages: a request's JSON and raw bytes to tensors, tensors to an answer.

Sources: the Open Inference Protocol (REST), and Triton's binary tensor data extension: after the
JSON come the tensors that say how many bytes they are, in their order.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic_core import SchemaValidator, ValidationError, core_schema

from ..errors import InvalidInput, InvalidJSON
from .datatypes import DATATYPES, from_bytes, from_json, to_bytes
from .tensors import Tensor, Tensors
from .violations import violations

MOST_DIMENSIONS = 8
MOST_TENSORS = 10_000
_MICROSECONDS = 1_000_000
_REFUSED = ("classification", "shared_memory_region")
"""Output parameters of extensions that are not spoken: ignoring them would answer wrongly."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request.

    outputs: the names that are asked for, each with whether as raw bytes. timeout: seconds that
    the client is willing to wait; None for the server's own deadline.
    """

    tensors: list[Tensor]
    outputs: list[tuple[str, bool]]
    id: str | None = None
    timeout: float | None = None


def read_request(body: bytes, header_length: int | None, tensors: Tensors) -> InferenceRequest:
    """Read a request.

    header_length: bytes of JSON before the raw tensors; None if all is JSON, and 0 if the whole
    body is the model's only input, of one row.
    Raises InvalidJSON or InvalidInput.
    """
    if header_length == 0:
        return _raw(body, tensors)
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise InvalidInput("Inference-Header-Content-Length is more than the body has.")
    document = _decode(body if length == len(body) else body[:length], tensors)
    raw = _Raw(memoryview(body)[length:], header_length is not None)
    found = [_tensor(described, raw) for described in document["inputs"]]
    raw.end()
    parameters = document.get("parameters") or {}
    timeout = parameters.get("timeout")
    return InferenceRequest(
        found, _wanted(document, tensors), document.get("id"), timeout and timeout / _MICROSECONDS
    )


def write_answer(
    request: InferenceRequest, found: list[Tensor], name: str, version: str
) -> tuple[bytes, int | None]:
    """The answer to a request, and how much of it is JSON; None if all is.

    found: the tensors that were asked for, in that order.
    """
    raw: list[bytes] = []
    outputs = []
    for tensor, (_, binary) in zip(found, request.outputs, strict=True):
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
    answer: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    header = orjson.dumps({**answer, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([header, *raw]), len(header)) if raw else (header, None)


class _Raw:
    """The raw bytes after the JSON, handed out from the front."""

    def __init__(self, rest: memoryview, announced: bool) -> None:
        self._rest = rest
        self._announced = announced

    def take(self, size: int) -> memoryview:
        if not self._announced:
            raise InvalidInput("Binary tensors need the header Inference-Header-Content-Length.")
        if size > len(self._rest):
            raise InvalidInput("The body has fewer bytes than binary_data_size says.")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def end(self) -> None:
        if len(self._rest):
            raise InvalidInput("The body has more bytes than binary_data_size says.")


def _raw(body: bytes, tensors: Tensors) -> InferenceRequest:
    """The raw form: one input, one row, and every output as raw bytes."""
    if len(tensors.inputs) != 1:
        raise InvalidInput("A body without JSON needs a model of one input.")
    (described,) = tensors.inputs
    shape = (1, *described.shape[1:])
    data: Any = memoryview(body)
    if described.datatype == "BYTES":  # the one string, without its length
        try:
            values: Any = [str(data, "utf-8")]
        except UnicodeDecodeError:
            raise InvalidInput("The body is not text in UTF-8.") from None
    else:
        values = from_bytes(described.datatype, shape, data)
    found = Tensor(described.name, described.datatype, shape, values)
    return InferenceRequest([found], [(output.name, True) for output in tensors.outputs])


def _tensor(described: dict[str, Any], raw: _Raw) -> Tensor:
    name, datatype, shape = described["name"], described["datatype"], tuple(described["shape"])
    size = (described.get("parameters") or {}).get("binary_data_size")
    if datatype not in DATATYPES:
        raise InvalidInput(f"A tensor must have a datatype of {', '.join(sorted(DATATYPES))}.")
    if (size is None) == ("data" not in described):
        raise InvalidInput("A tensor must have either data or binary_data_size.")
    try:
        if size is None:
            values = from_json(datatype, shape, described["data"])
        else:
            values = from_bytes(datatype, shape, raw.take(size))
    except InvalidInput as error:
        raise InvalidInput(f"The tensor {name[:200]}: {error.detail}") from None
    return Tensor(name, datatype, shape, values)


def _wanted(document: dict[str, Any], tensors: Tensors) -> list[tuple[str, bool]]:
    binary = bool((document.get("parameters") or {}).get("binary_data_output"))
    known = [output.name for output in tensors.outputs]
    if not document.get("outputs"):
        return [(name, binary) for name in known]
    wanted = []
    for output in document["outputs"]:
        if output["name"] not in known:
            raise InvalidInput(f"The model has no such output; it has {', '.join(known)}.")
        parameters = output.get("parameters") or {}
        unfit = [name for name in _REFUSED if parameters.get(name)]
        if unfit:
            raise InvalidInput(f"The output parameter {unfit[0]} is not supported.")
        own = parameters.get("binary_data")
        wanted.append((output["name"], binary if own is None else own))
    return wanted


def _decode(header: bytes, tensors: Tensors) -> dict[str, Any]:
    """The JSON of a request, checked but for the data of its tensors.

    Half a million brackets fit into 1 MiB: far more than data can have are refused undecoded.
    """
    if tensors.floods(header):
        raise InvalidInput(f"The request has more than {tensors.max_rows} rows.")
    try:
        document = orjson.loads(header)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"The body is not JSON: {error}.") from None
    try:
        _REQUEST.validate_python(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            "The body does not have the form of a request.", violations(found, ())
        ) from None
    return dict(document)


def _object(required: dict[str, Any], optional: dict[str, Any]) -> core_schema.CoreSchema:
    """An object; members that are not named are ignored, and null is as good as nothing."""
    fields = {name: core_schema.typed_dict_field(schema) for name, schema in required.items()}
    for name, schema in optional.items():
        fields[name] = core_schema.typed_dict_field(
            core_schema.nullable_schema(schema), required=False
        )
    return core_schema.typed_dict_schema(fields)


_STRING = core_schema.str_schema(strict=True)
_BOOL = core_schema.bool_schema(strict=True)
_COUNT = core_schema.int_schema(strict=True, ge=0, le=2**63 - 1)
_PARAMETERS = _object({}, {"binary_data_output": _BOOL, "timeout": _COUNT})
_INPUT = _object(
    {
        "name": _STRING,
        "datatype": _STRING,
        "shape": core_schema.list_schema(
            _COUNT, min_length=1, max_length=MOST_DIMENSIONS, strict=True
        ),
    },
    {"parameters": _object({}, {"binary_data_size": _COUNT})},
)
_OUTPUT = _object({"name": _STRING}, {"parameters": _object({}, {"binary_data": _BOOL})})
_REQUEST = SchemaValidator(
    _object(
        {
            "inputs": core_schema.list_schema(
                _INPUT, min_length=1, max_length=MOST_TENSORS, strict=True, fail_fast=True
            )
        },
        {
            "id": _STRING,
            "parameters": _PARAMETERS,
            "outputs": core_schema.list_schema(_OUTPUT, max_length=MOST_TENSORS, fail_fast=True),
        },
    )
)
