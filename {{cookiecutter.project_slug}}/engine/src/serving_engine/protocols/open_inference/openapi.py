"""The OpenAPI document of Open Inference, for the model that is served."""

from typing import Any

from ...inference.model import Model
from ...schema.json_schema import Schema
from ...web.statuses import PROBING, READING_ROWS
from .content_types import OF_INPUT, OF_OUTPUT, OF_REQUEST
from .datatypes import DATATYPES
from .tensors import Tensors, TensorSpec

_UNKNOWN_MODEL = (404,)
_NAME: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_SHAPE: Schema = {"type": "array", "items": _COUNT, "minItems": 1, "maxItems": 8}
_BOOLEAN: Schema = {"type": "boolean"}
_VALUES: Schema = {
    "type": "array",
    "description": "Row-major, nested or flat.",
    "items": {"type": ["number", "string", "boolean", "array", "null"]},
}


def describe(path: str, operation: Schema, model: Model | None) -> tuple[int, ...]:
    """Complete an operation of this protocol; return the statuses of its errors."""
    if model is None:
        return ()
    probing = PROBING if path.endswith("/ready") else ()
    if "{model}" not in path:
        return probing
    manifest = model.manifest
    values = {"model": manifest.name, "version": manifest.version}
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"enum": [value]}}
        for name, value in values.items()
        if "{" + name + "}" in path
    ]
    if not path.endswith("/infer"):
        return _UNKNOWN_MODEL + probing
    tensors = model.adapter(Tensors)
    raw: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    body: Schema = {
        "schema": _request(tensors),
        "examples": {"One row": {"value": _example(tensors, manifest.example_rows[0])}},
    }
    operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    operation["responses"]["200"]["content"] = {
        "application/json": {"schema": _response(tensors)}
    } | raw
    return READING_ROWS + _UNKNOWN_MODEL


def _request(tensors: Tensors) -> Schema:
    tensor = {
        "name": _NAME,
        "shape": _SHAPE,
        "datatype": {"enum": sorted(DATATYPES)},
        "parameters": _nullable(
            _object({"binary_data_size": _nullable(_COUNT), "content_type": _one_of(OF_INPUT)})
        ),
        "data": _VALUES,
    }
    output = {
        "name": {"enum": [tensor.name for tensor in tensors.outputs]},
        "parameters": _nullable(
            _object({"binary_data": _nullable(_BOOLEAN), "content_type": _one_of(OF_OUTPUT)})
        ),
    }
    parameters = {
        "timeout": _nullable(_COUNT) | {"description": "In microseconds."},
        "binary_data_output": _nullable(_BOOLEAN),
        "content_type": _one_of(OF_REQUEST),
    }
    expected = ", ".join(map(_text, tensors.inputs))
    return _object(
        {
            "id": _nullable(_NAME) | {"description": "The response has the same id."},
            "parameters": _nullable(_object(parameters)),
            "inputs": {
                "type": "array",
                "description": f"The model requires {expected}.",
                "minItems": 1,
                "items": _object(tensor, "name", "shape", "datatype"),
            },
            "outputs": _nullable({"type": "array", "items": _object(output, "name")}),
        },
        "inputs",
    )


def _response(tensors: Tensors) -> Schema:
    output = {
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
            "outputs": {"type": "array", "items": _object(output, "name", "shape", "datatype")},
        },
        "model_name",
        "model_version",
        "outputs",
    )


def _example(tensors: Tensors, row: list[Any]) -> Schema:
    """Return a request for one row. row: in signature order."""
    columns = [row] if len(tensors.inputs) != len(row) else [[value] for value in row]
    return {
        "inputs": [
            {
                "name": spec.name,
                "shape": [1, *spec.shape[1:]],
                "datatype": spec.datatype,
                "data": data,
            }
            for spec, data in zip(tensors.inputs, columns, strict=True)
        ]
    }


def _text(spec: TensorSpec) -> str:
    return f"{spec.name} ({spec.datatype}, {list(spec.shape)})"


def _one_of(values: tuple[str, ...]) -> Schema:
    return {"enum": [*values, None]}


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Schema, *required: str) -> Schema:
    """An object with these members, and maybe others."""
    return {"type": "object", "properties": properties, "required": list(required)}
