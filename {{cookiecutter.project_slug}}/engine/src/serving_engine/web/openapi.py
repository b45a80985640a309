"""The OpenAPI document, with the types of the model that is served.

It is completed from the routes of the application: an owner's route with a `RowsDep` is described
with the body, the parameters and the errors of that dependency.
"""

import re
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from ..inference.model import Model
from ..schema.json_schema import (
    Schema,
    object_schema,
    request_examples,
    request_schema,
    response_schema,
)
from ..schema.predictions import Predictions
from .api_keys import SECURITY_SCHEMES, probes
from .dependencies import get_rows
from .statuses import INVALID_AS_400, PROBING, READING_ROWS, describe

_PROBLEM = {
    "type": "object",
    "title": "Problem (RFC 9457)",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "id": {"type": "string", "description": "The id of the log line, for an internal error."},
        "errors": {
            "type": "array",
            "maxItems": 20,
            "items": object_schema(
                {
                    "pointer": {"type": "string", "description": "A JSON pointer (RFC 6901)"},
                    "message": {"type": "string"},
                }
            ),
        },
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
_HEADERS = {
    "X-Request-ID": {
        "description": "The request's id in the log; that of the request's header, if it had one.",
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
    "description": "How long the client waits. The service's own timeout is the maximum.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}


def install_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` describe the model in `app.state`, also after it was replaced."""
    plain = app.openapi
    document: Schema | None = None
    manifest: object = None

    def openapi() -> Schema:
        nonlocal document, manifest
        model = getattr(app.state, "model", None)
        current = model and model.manifest
        if current is not manifest:
            app.openapi_schema = None
        latest = plain()  # FastAPI makes another document when routes were added
        if latest is not document:
            _complete(latest, app, model)
            document = latest
            manifest = current
        return latest

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Schema, app: FastAPI, model: Model | None) -> None:
    components = document.setdefault("components", {})
    components["headers"] = dict(_HEADERS)
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's: `Problem` replaces them
        schemas.pop(name, None)
    if app.state.settings.api_keys:
        components["securitySchemes"] = dict(SECURITY_SCHEMES)
        document["security"] = [{name: []} for name in SECURITY_SCHEMES]
    if model is not None:
        signature = model.manifest.signature
        schemas["Instances"] = request_schema(signature, model.max_rows)
        schemas["Predictions"] = response_schema(signature)
    open_paths = probes(app)
    _name_operations(document, app)
    for path, route, operation in _operations(document, app):
        takes_rows = _depends_on_rows(route.dependant)
        errors, schema = _described_by_protocol(path, operation, app, model)
        errors |= describe((500,))
        if takes_rows:
            errors |= describe(READING_ROWS)
            operation.setdefault("parameters", []).append(_TIMEOUT)
            if model is not None:
                _describe_body(operation, model)
            if model is not None and _returns_predictions(route):
                content = _content("application/json", "Predictions")
                operation["responses"]["200"]["content"] = content
        if path == "/readyz":
            errors |= describe(PROBING)
        if app.state.settings.api_keys and path in open_paths:
            operation["security"] = []
        elif app.state.settings.api_keys:
            errors |= describe((401,))
        _describe_responses(operation, errors, schema)
    metrics = document["paths"].get("/metrics", {}).get("get")
    if metrics:
        metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}


def _name_operations(document: Schema, app: FastAPI) -> None:
    """Give every operation the name of its handler, which a generated client has as a method.

    A name that another operation has already gets a word of the path that tells them apart. Ids
    that the owner chose stay.
    """
    paths: dict[str, str] = {}
    for path, route, operation in _operations(document, app):
        given = operation["operationId"]
        by_fastapi = re.sub(r"\W", "_", f"{route.name}{path}")
        method = given.removeprefix(f"{by_fastapi}_")
        if method.upper() not in (route.methods or ()):
            paths[given] = path
            continue
        name = str(route.name)
        if name in paths:
            others = re.findall(r"\w+", paths[name])
            words = [word for word in re.findall(r"\w+", path) if word not in others]
            name = "_".join([name, *words[-1:]])
        if name not in paths:
            operation["operationId"] = name
            paths[name] = path


def _described_by_protocol(
    path: str, operation: Schema, app: FastAPI, model: Model | None
) -> tuple[dict[int, str], Schema]:
    """Return the errors that the protocol of the path adds, and their schema."""
    for protocol in app.state.protocols:
        if protocol.handles(path):
            statuses = protocol.describe(path, operation, model)
            return describe(statuses, INVALID_AS_400), {
                "application/json": {"schema": protocol.error}
            }
    return {}, _content("application/problem+json", "Problem")


def _operations(document: Schema, app: FastAPI) -> Iterator[tuple[str, RouteContext, Schema]]:
    """Iterate over all operations: the path, the route, and the description so far."""
    for route in iter_route_contexts(app.routes):
        operations = document["paths"].get(route.path_format or "", {})
        for method in route.methods or ():
            if method.lower() in operations:
                yield str(route.path_format), route, operations[method.lower()]


def _depends_on_rows(dependant: Dependant) -> bool:
    return dependant.call is get_rows or any(map(_depends_on_rows, dependant.dependencies))


def _returns_predictions(route: RouteContext) -> bool:
    """Whether the handler's return annotation is `Predictions`."""
    annotations = getattr(route.endpoint, "__annotations__", {})
    return annotations.get("return") in {Predictions, Predictions.__name__}


def _describe_body(operation: Schema, model: Model) -> None:
    content = _content("application/json", "Instances")
    content["application/json"]["examples"] = request_examples(
        model.manifest.signature, model.manifest.examples[0].input
    )
    operation["requestBody"] = {"required": True, "content": content}


def _describe_responses(operation: Schema, errors: dict[int, str], schema: Schema) -> None:
    responses = operation["responses"]
    if "422" in responses:  # of parameters and bodies that FastAPI reads itself
        errors = {422: "Invalid parameters or body"} | errors
        if "requestBody" in operation:
            errors = describe((400,)) | errors
    for status, description in sorted(errors.items()):
        responses[str(status)] = {
            "description": description,
            "content": schema,
        }
    for status, response in responses.items():
        names = ["X-Request-ID", *_HEADERS_OF_STATUS.get(status, ())]
        response["headers"] = response.get("headers", {}) | {
            name: {"$ref": f"#/components/headers/{name}"} for name in names
        }


def _content(media_type: str, schema: str) -> Schema:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
