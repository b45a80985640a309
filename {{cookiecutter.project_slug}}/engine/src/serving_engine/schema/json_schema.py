"""The JSON schemas of a signature, for the OpenAPI document (JSON Schema 2020-12)."""

from typing import Any

from .signature import Column, Signature, class_names, datetime_pattern

Schema = dict[str, Any]

_JSON_TYPES = {
    "float64": "number",
    "int64": "integer",
    "bool": "boolean",
    "string": "string",
    "datetime": "string",
}
_MAX_SHOWN_CATEGORIES = 20


def request_schema(signature: Signature, max_rows: int) -> Schema:
    """The schema of the request body of `POST /predict`."""
    columns = {column.name: _column_schema(column) for column in signature.inputs}
    by_name = {
        "type": "object",
        "title": "By name",
        "properties": columns,
        "required": [column.name for column in signature.inputs if not column.nullable],
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
    """Examples of a request with one row, as an object and as an array. row: by column name."""
    in_order = [row[name] for name in signature.columns]
    return {
        "By name": {"value": {"instances": [row]}},
        "In order": {"value": {"instances": [in_order]}},
    }


def response_schema(signature: Signature) -> Schema:
    """The schema of the response of `POST /predict`."""
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
    kind = _JSON_TYPES[column.dtype]
    schema: Schema = {"type": [kind, "null"] if column.nullable else kind}
    if column.dtype in {"float64", "int64"}:
        schema["minimum"], schema["maximum"] = column.bounds
    if column.dtype == "datetime":
        schema["pattern"] = f"^{datetime_pattern(column)}$"
        zone = (
            "no offset"
            if column.timezone is None
            else f"an offset; the model uses {column.timezone}"
        )
        schema["description"] = f"ISO 8601 with {zone}"
    if column.allowed is not None:
        schema["enum"] = [*column.allowed, None] if column.nullable else column.allowed
    if column.minimum is not None and column.maximum is not None:
        schema["description"] = f"observed: {column.minimum:g} to {column.maximum:g}"
    elif column.categories is not None:
        shown = ", ".join(map(str, column.categories[:_MAX_SHOWN_CATEGORIES]))
        more = ", …" if len(column.categories) > _MAX_SHOWN_CATEGORIES else ""
        schema["description"] = f"observed: {shown}{more}"
    return schema


def _prediction_schema(signature: Signature) -> Schema:
    number: Schema = {"type": "number"}
    match signature.task:
        case "regression" if signature.outputs is None:
            return number
        case "regression":
            size = len(signature.outputs or ())
            return {"type": "array", "items": number, "minItems": size, "maxItems": size}
        case "clustering":
            return object_schema({"cluster": {"type": "integer"}})
        case "outlier-detection":
            return object_schema({"outlier": {"type": "boolean"}, "score": number})
        case "multi-output-classification":
            classes = zip(signature.outputs or (), signature.output_classes or (), strict=True)
            return object_schema(
                {"labels": object_schema({name: {"enum": labels} for name, labels in classes})}
            )
    return _classes_schema(signature)


def _classes_schema(signature: Signature) -> Schema:
    classes = signature.classes or []
    properties: Schema = {"label": {"enum": classes}}
    if signature.task == "multilabel":
        items = {"items": {"enum": classes}, "uniqueItems": True}
        properties = {"labels": {"type": "array", **items}}
    if signature.probabilities:
        number = {"type": "number", "minimum": 0, "maximum": 1}
        properties["probabilities"] = object_schema(dict.fromkeys(class_names(classes), number))
    return object_schema(properties)


def object_schema(properties: Schema) -> Schema:
    """The schema of an object with exactly these members, all of them required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
