"""What the OpenAPI document says of Open Inference, for the model that is served."""

from typing import Any

from ..schema.datatypes import DATATYPES
from ..schema.tensors import Description, Tensors
from .protocol import Schema

_UNKNOWN = {404: "No such model, or not in this version"}
_NOT_READY = {503: "Starting or draining; see Retry-After"}
_INFER = {
    400: "Not JSON, or does not fit the model",
    408: "The body came too slowly",
    413: "Body too large",
    415: "Encoded in a way that is not spoken",
    503: "Queue full or draining; see Retry-After",
    504: "Deadline passed",
}
_NAME: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_SHAPE: Schema = {"type": "array", "items": _COUNT, "minItems": 1, "maxItems": 8}
_BOOLEAN: Schema = {"type": "boolean"}
_VALUES: Schema = {
    "type": "array",
    "description": "Row-major, nested or flat.",
    "items": {"type": ["number", "string", "boolean", "array", "null"]},
}


def describe(path: str, operation: Schema, model: Any) -> dict[int, str]:
    """Complete an operation of this protocol; return the errors that it may answer."""
    if model is None:
        return {}
    if "{model}" not in path:
        if path.endswith("/ready"):
            return _NOT_READY
        return {}
    manifest = model.manifest
    named = {"model": manifest.name, "version": manifest.version}
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"enum": [value]}}
        for name, value in named.items()
        if "{" + name + "}" in path
    ]
    if not path.endswith("/infer"):
        return _UNKNOWN | (_NOT_READY if path.endswith("/ready") else {})
    tensors = model.adapter(Tensors)
    raw: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    asked: Schema = {
        "schema": _request(tensors),
        "examples": {"One row": {"value": _example(tensors, manifest.example_rows[0])}},
    }
    operation["requestBody"] = {"required": True, "content": {"application/json": asked}}
    operation["responses"]["200"]["content"] = {
        "application/json": {"schema": _answer(tensors)}
    } | raw
    return _INFER | _UNKNOWN


def _request(tensors: Tensors) -> Schema:
    given = {
        "name": _NAME,
        "shape": _SHAPE,
        "datatype": {"enum": sorted(DATATYPES)},
        "parameters": _nullable(_object({"binary_data_size": _nullable(_COUNT)})),
        "data": _VALUES,
    }
    wanted = {
        "name": {"enum": [tensor.name for tensor in tensors.outputs]},
        "parameters": _nullable(_object({"binary_data": _nullable(_BOOLEAN)})),
    }
    parameters = {
        "timeout": _nullable(_COUNT) | {"description": "In microseconds."},
        "binary_data_output": _nullable(_BOOLEAN),
    }
    taken = ", ".join(map(_text, tensors.inputs))
    return _object(
        {
            "id": _nullable(_NAME) | {"description": "Comes back with the answer."},
            "parameters": _nullable(_object(parameters)),
            "inputs": {
                "type": "array",
                "description": f"The model takes {taken}.",
                "minItems": 1,
                "items": _object(given, "name", "shape", "datatype"),
            },
            "outputs": _nullable({"type": "array", "items": _object(wanted, "name")}),
        },
        "inputs",
    )


def _answer(tensors: Tensors) -> Schema:
    one = {
        "name": {"enum": [tensor.name for tensor in tensors.outputs]},
        "shape": _SHAPE,
        "datatype": {"enum": sorted({tensor.datatype for tensor in tensors.outputs})},
        "parameters": _object({"binary_data_size": {"type": "integer"}}),
        "data": _VALUES,
    }
    return _object(
        {
            "model_name": _NAME,
            "model_version": _NAME,
            "id": _NAME,
            "outputs": {"type": "array", "items": _object(one, "name", "shape", "datatype")},
        },
        "model_name",
        "model_version",
        "outputs",
    )


def _example(tensors: Tensors, row: list[Any]) -> Schema:
    """A request for one row. row: in signature order."""
    columns = [row] if len(tensors.inputs) != len(row) else [[value] for value in row]
    return {
        "inputs": [
            {
                "name": described.name,
                "shape": [1, *described.shape[1:]],
                "datatype": described.datatype,
                "data": data,
            }
            for described, data in zip(tensors.inputs, columns, strict=True)
        ]
    }


def _text(tensor: Description) -> str:
    return f"{tensor.name} ({tensor.datatype}, {list(tensor.shape)})"


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}
