"""The OpenAPI document, with the types of the model that is being served."""

from typing import Any

from fastapi import FastAPI

from ..schema.openapi import answer_schema, request_schema

_PROBLEM = {
    "type": "object",
    "title": "Problem (RFC 9457)",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "id": {"type": "string", "description": "Names the log line of a failure of ours."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "message": {"type": "string"}},
                "required": ["pointer", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}

_PREDICT_ERRORS = {
    400: "Not JSON",
    408: "The body came too slowly",
    413: "Body too large",
    415: "Not JSON by its type, or encoded",
    422: "Does not fit the model's signature",
    500: "The model failed; `id` names the log line",
    503: "Queue full or draining; see Retry-After",
    504: "Deadline passed",
}


def install_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` describe the model in `app.state`, also after it was replaced."""
    plain = app.openapi
    cached: tuple[object, dict[str, Any]] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal cached
        model = getattr(app.state, "model", None)
        if cached is None or cached[0] is not model:
            app.openapi_schema = None
            document = plain()
            if model is not None:
                _describe(document, model)
            _add_problems(document)
            cached = (model, document)
        return cached[1]

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(document: dict[str, Any], model: Any) -> None:
    signature = model.manifest.signature
    example = model.manifest.examples[0].input
    operation = document["paths"]["/predict"]["post"]
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": request_schema(signature, model.max_rows, example)}
        },
    }
    operation["responses"]["200"]["content"] = {
        "application/json": {"schema": answer_schema(signature)}
    }


def _add_problems(document: dict[str, Any]) -> None:
    document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses = document["paths"]["/predict"]["post"]["responses"]
    for status, description in _PREDICT_ERRORS.items():
        responses[str(status)] = {"description": description, "content": content}
    document["paths"]["/readyz"]["get"]["responses"]["503"] = {
        "description": "Starting or draining",
        "content": content,
    }
