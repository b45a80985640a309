"""The OpenAPI document, with the types of the model that is being served.

It is completed from the routes that there are: one of your own that asks for `RowsDep` is given
the body, the parameters and the errors that this brings.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from ..dependencies import get_rows
from ..schema.openapi import answer_schema, request_examples, request_schema
from .keys import SECURITY_SCHEMES, probes

Document = dict[str, Any]

_ROWS_ERRORS = {
    400: "Not JSON",
    408: "The body came too slowly",
    413: "Body too large",
    415: "Not JSON by its type, or encoded",
    422: "Does not fit the model's signature",
    503: "Queue full or draining; see Retry-After",
    504: "Deadline passed",
}
_READYZ_ERRORS = {503: "Starting or draining; see Retry-After"}

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
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "Where: RFC 6901"},
                    "message": {"type": "string"},
                },
                "required": ["pointer", "message"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
_HEADERS = {
    "X-Request-ID": {
        "description": "Names the request in the log; the caller's own, if one came.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "const": "Bearer"}},
}
_HEADERS_OF_STATUS = {"401": ["WWW-Authenticate"], "503": ["Retry-After"]}

_TIMEOUT = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "description": "How long the caller waits for the answer; never more than the service does.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}


def install_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` describe the model in `app.state`, also after it was replaced."""
    plain = app.openapi
    document: Document | None = None
    manifest: object = None

    def openapi() -> Document:
        nonlocal document, manifest
        model = getattr(app.state, "model", None)
        current = model and model.manifest
        if current is not manifest:
            app.openapi_schema = None
        found = plain()  # FastAPI makes it anew when routes were added
        if found is not document:
            _complete(found, app, model)
            document, manifest = found, current
        return found

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Document, app: FastAPI, model: Any) -> None:
    parts = document.setdefault("components", {})
    parts["headers"] = dict(_HEADERS)
    schemas = parts.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, in place of ours
        schemas.pop(name, None)
    if app.state.settings.api_keys:
        parts["securitySchemes"] = dict(SECURITY_SCHEMES)
        document["security"] = [{name: []} for name in SECURITY_SCHEMES]
    if model is not None:
        signature = model.manifest.signature
        schemas["Instances"] = request_schema(signature, model.max_rows)
        schemas["Predictions"] = answer_schema(signature)
    open_paths = probes(app)
    for path, takes_rows, operation in _operations(document, app):
        errors, wrong = _described_by_protocol(path, operation, app, model)
        errors[500] = "A failure of ours; `id` names the log line"
        if takes_rows:
            errors |= _ROWS_ERRORS
            operation.setdefault("parameters", []).append(_TIMEOUT)
            if model is not None:
                _describe_body(operation, model)
        if path == "/readyz":
            errors |= _READYZ_ERRORS
        if app.state.settings.api_keys and path in open_paths:
            operation["security"] = []
        elif app.state.settings.api_keys:
            errors[401] = "No key, or an unknown one"
        _describe_answers(operation, errors, wrong)
    predict = document["paths"].get("/predict", {}).get("post")
    if predict and model is not None:
        predict["responses"]["200"]["content"] = _content("application/json", "Predictions")
    metrics = document["paths"].get("/metrics", {}).get("get")
    if metrics:
        metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}


def _described_by_protocol(
    path: str, operation: Document, app: FastAPI, model: Any
) -> tuple[dict[int, str], Document]:
    """The errors that the protocol of the path adds, and what they look like."""
    for protocol in app.state.protocols:
        if protocol.owns(path):
            errors = dict(protocol.describe(path, operation, model))
            return errors, {"application/json": {"schema": protocol.error}}
    return {}, _content("application/problem+json", "Problem")


def _operations(document: Document, app: FastAPI) -> Iterator[tuple[str, bool, Document]]:
    """The path of every operation, whether it reads rows, and what is written of it so far."""
    for route in iter_route_contexts(app.routes):
        described = document["paths"].get(route.path_format or "", {})
        for method in route.methods or ():
            if method.lower() in described:
                takes_rows = _asks_for_rows(route.dependant)
                yield str(route.path_format), takes_rows, described[method.lower()]


def _asks_for_rows(dependant: Dependant) -> bool:
    return dependant.call is get_rows or any(map(_asks_for_rows, dependant.dependencies))


def _describe_body(operation: Document, model: Any) -> None:
    content = _content("application/json", "Instances")
    content["application/json"]["examples"] = request_examples(
        model.manifest.signature, model.manifest.examples[0].input
    )
    operation["requestBody"] = {"required": True, "content": content}


def _describe_answers(operation: Document, errors: dict[int, str], wrong: Document) -> None:
    responses = operation["responses"]
    if "422" in responses:  # FastAPI's own, for what it reads itself
        errors = {422: "Does not fit what is expected"} | errors
        if "requestBody" in operation:
            errors = {400: "Not JSON"} | errors
    for status, description in sorted(errors.items()):
        responses[str(status)] = {
            "description": description,
            "content": wrong,
        }
    for status, response in responses.items():
        names = ["X-Request-ID", *_HEADERS_OF_STATUS.get(status, ())]
        response["headers"] = response.get("headers", {}) | {
            name: {"$ref": f"#/components/headers/{name}"} for name in names
        }


def _content(media_type: str, schema: str) -> Document:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
