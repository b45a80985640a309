"""What a further wire protocol is made of, over the same engine as `/predict`.

Every module of this package that has a function `protocol` is one, and is served because it is
there: nothing else has to name it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from ..errors import InvalidInput, InvalidJSON, RequestError, Unavailable
from .problems import LONGEST_TEXT

Schema = dict[str, Any]

ERROR: Schema = {
    "type": "object",
    "title": "Error in a line",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol of the service.

    router: its routes. paths: those whose errors it words, with all that is below them, whether
    there is such a route or not. refuse: its answer to an error, with the request's id.
    probes: paths that are answered without an API key. describe: completes what the OpenAPI
    document says of an operation, for the model that is served; returns the errors it may answer.
    error: the schema of those.
    """

    router: APIRouter
    paths: tuple[str, ...]
    refuse: Callable[[RequestError, str], Response]
    probes: frozenset[str]
    describe: Callable[[str, Schema, Any], dict[int, str]]
    error: Schema

    def labels(self) -> dict[str, str]:
        """What metrics call it, by the templates of its routes: the tag of its router."""
        routes = (route for route in self.router.routes if isinstance(route, APIRoute))
        return {route.path: str(self.router.tags[0]) for route in routes}

    def owns(self, path: str) -> bool:
        """Whether errors at `path` are in the form of this protocol."""
        return any(path == own or path.startswith(f"{own}/") for own in self.paths)


def find_protocols() -> list[Protocol]:
    """The protocols that this service speaks besides its own."""
    beside = iter_modules([str(Path(__file__).parent)])
    modules = [import_module(f".{module.name}", __package__) for module in beside]
    return [module.protocol() for module in modules if hasattr(module, "protocol")]


def check_ready(request: Request) -> None:
    """Raise Unavailable while the model may not be asked."""
    reason = request.app.state.readiness.reason
    if reason is not None:
        raise Unavailable(f"The service is {reason}.", headers={"Retry-After": "1"})


def refuse_in_a_line(error: RequestError, request_id: str) -> Response:
    """`{"error": "..."}`, with the status of the error."""
    body = orjson.dumps({"error": sentence(error, request_id)})
    return Response(body, status_of(error), dict(error.headers), "application/json")


def status_of(error: RequestError) -> int:
    """What does not fit is 400: no protocol but the service's own has 422."""
    return InvalidJSON.status if error.status == InvalidInput.status else error.status


def sentence(error: RequestError, request_id: str) -> str:
    """An error in a line, for protocols whose errors are one string."""
    text = error.detail[:LONGEST_TEXT].encode(errors="replace").decode()
    named = [f"{item.pointer} {item.message}".strip() for item in error.errors[:MOST_NAMED]]
    if named:
        text += f" {'; '.join(named)}"
    if error.status == RequestError.status and request_id:
        text += f" The log has the reason under the id {request_id}."
    return text
