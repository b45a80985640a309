"""The JSON schemas of a signature, for the OpenAPI document (JSON Schema 2020-12)."""

from typing import Any

from .answers import class_name
from .signature import Column, Signature

Schema = dict[str, Any]


def request_schema(signature: Signature, max_rows: int) -> Schema:
    """Schema of the body of `POST /predict`."""
    columns = {column.name: _column_schema(column) for column in signature.inputs}
    by_name = {
        "type": "object",
        "title": "By name",
        "properties": columns,
        "required": signature.columns,
        "additionalProperties": False,
    }
    in_order = {
        "type": "array",
        "title": "In order",
        "prefixItems": list(columns.values()),
        "minItems": len(columns),
        "maxItems": len(columns),
    }
    return {
        "type": "object",
        "title": "Instances",
        "properties": {
            "instances": {
                "description": "Rows: all as objects by name, or all as arrays in order.",
                "anyOf": [
                    {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
                    for row in (by_name, in_order)
                ],
            }
        },
        "required": ["instances"],
        "additionalProperties": False,
    }


def request_examples(signature: Signature, row: dict[str, Any]) -> Schema:
    """The examples of a request with one row, in both forms. row: by column name."""
    in_order = [row[name] for name in signature.columns]
    return {
        "By name": {"value": {"instances": [row]}},
        "In order": {"value": {"instances": [in_order]}},
    }


def answer_schema(signature: Signature) -> Schema:
    """Schema of the answer of `POST /predict`."""
    return {
        "type": "object",
        "title": "Predictions",
        "properties": {
            "predictions": {"type": "array", "items": _prediction_schema(signature)},
            "model": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "version": {"type": "string"}},
                "required": ["name", "version"],
            },
        },
        "required": ["predictions", "model"],
        "additionalProperties": False,
    }


def _column_schema(column: Column) -> Schema:
    low, high = column.bounds
    schema: Schema = {
        "type": ["number", "null"] if column.nullable else "number",
        "minimum": low,
        "maximum": high,
    }
    if column.minimum is not None and column.maximum is not None:
        schema["description"] = f"observed: {column.minimum:g} to {column.maximum:g}"
    return schema


def _prediction_schema(signature: Signature) -> Schema:
    number: Schema = {"type": "number"}
    if signature.classes is None:
        if signature.outputs is None:
            return number
        size = len(signature.outputs)
        return {"type": "array", "items": number, "minItems": size, "maxItems": size}
    names = [class_name(label) for label in signature.classes]
    properties: Schema = {"label": {"enum": signature.classes}}
    if signature.probabilities:
        properties["probabilities"] = {
            "type": "object",
            "properties": {name: {"type": "number", "minimum": 0, "maximum": 1} for name in names},
            "required": names,
            "additionalProperties": False,
        }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
