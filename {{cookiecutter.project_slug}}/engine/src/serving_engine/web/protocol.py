"""The parts of a wire protocol beside the service's own; all use the same model and queue."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from ..errors import RequestError, Unavailable
from ..inference.model import Model
from ..schema.json_schema import Schema, object_schema, response_schema
from .problem_details import short_text
from .statuses import INVALID_AS_400

ERROR = object_schema({"error": {"type": "string"}}) | {"title": "One-line error"}
MAX_NAMED = 5
"""Most field errors that a one-line error contains."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A wire protocol of the service.

    router: its routes. paths: it formats the errors of these paths and of all paths below them,
    also where there is no route. format_error: returns the response to an error; its arguments are
    the error and the request's id. probes: paths that require no API key. describe: completes an
    operation of the OpenAPI document, for the model that is served; returns the statuses of the
    operation's errors. error: the schema of an error.
    """

    router: APIRouter
    paths: tuple[str, ...]
    format_error: Callable[[RequestError, str], Response]
    probes: frozenset[str]
    describe: Callable[[str, Schema, Model | None], tuple[int, ...]]
    error: Schema

    def labels(self) -> dict[str, str]:
        """Return the protocol's name in metrics, which is its router's tag, for each route."""
        routes = (route for route in self.router.routes if isinstance(route, APIRoute))
        return {route.path: str(self.router.tags[0]) for route in routes}

    def handles(self, path: str) -> bool:
        """Return whether this protocol formats the errors at `path`."""
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self.paths)


def describe_predictions(operation: Schema, model: Model) -> None:
    """Describe the response `{"predictions": [...]}` of an operation."""
    predictions = response_schema(model.manifest.signature)["properties"]["predictions"]
    operation["responses"]["200"]["content"] = {
        "application/json": {"schema": object_schema({"predictions": predictions})}
    }


def check_ready(request: Request) -> None:
    """Raise Unavailable while the service starts or drains, or its model is stuck."""
    state = request.app.state
    reason = state.readiness.reason
    if reason is None and state.model.failed_threads:
        reason = "stuck in a call of the model"
    if reason is not None:
        raise Unavailable(f"The service is {reason}.", headers={"Retry-After": "1"})


def one_line_error(error: RequestError, request_id: str) -> Response:
    """Return the response `{"error": "..."}`, with the status of the error."""
    document = {"error": error_sentence(error, request_id)}
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status_of(error), dict(error.headers), "application/json")


def status_of(error: RequestError) -> int:
    """Return the status of an error in a protocol that has no 422."""
    return INVALID_AS_400.get(error.status, error.status)


def error_sentence(error: RequestError, request_id: str) -> str:
    """Describe an error in one line, for protocols whose errors are one string."""
    text = short_text(error.detail)
    errors = [f"{item.pointer} {item.message}".strip() for item in error.errors[:MAX_NAMED]]
    if errors:
        text += f" {'; '.join(errors)}"
    if error.status == RequestError.status and request_id:
        text += f" The log has the reason under the id {request_id}."
    return text
