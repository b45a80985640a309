"""A FastAPI route for the hot path: the same contract, resolved once instead of per request.

FastAPI walks a route's tree of dependencies on every request, inside two exit stacks; for the
handlers of a model server that is most of the cost of a request. Where every dependency is a plain
coroutine function of the request and of other dependencies, the tree is compiled to a list of calls
when the route is made. Routes with anything else (parameters, generators, sync functions), and
requests while `app.dependency_overrides` is set, are handled by FastAPI.
"""

from collections.abc import Awaitable, Callable
from dataclasses import fields
from inspect import Parameter, iscoroutinefunction, signature
from typing import Any, NamedTuple

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.routing import _FASTAPI_SCOPE_KEY, APIRoute, request_response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi import CANCEL_ON_DISCONNECT, RawResponse, respond_by_messages

Call = Callable[..., Awaitable[Any]]
Step = tuple[Call, tuple[int, ...]]
"""A call, and the number of the value for each argument: value 0 is the request, value n is the
result of step n."""

OUTCOME = "serving.outcome"
"""In the scope of a request whose handler was called already: see `short_way.py`."""

_SUPPORTED = frozenset(
    {"call", "dependencies", "name", "path", "request_param_name", "use_cache", "scope"}
)
"""Fields of a `Dependant` that are supported here. FastAPI handles a route with any other field
set, such as one that a later release adds."""


class Outcome(NamedTuple):
    """What the handler returned, or the exception that it raised."""

    result: Any = None
    error: Exception | None = None


class FastRoute(APIRoute):
    """Use it as `APIRouter(route_class=FastRoute)`, and add it with `include_fast_router`.

    A handler returns a `Response`, or a value that orjson or FastAPI's encoder can write. A line
    end follows the JSON: a terminal's prompt then starts on a line of its own.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._steps = compile_dependencies(self.dependant)
        self._fastapi_app = self.app
        self.app = self._handle_fast
        self._path = None if self.param_convertors else self.path

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request; without the regular expression if the path is exactly the route's."""
        if self.matches_exactly(scope):
            return Match.FULL, {"endpoint": self.endpoint, "path_params": {}, "route": self}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request that matched."""
        if self.matches_exactly(scope):
            await self._handle_fast(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def matches_exactly(self, scope: Scope) -> bool:
        """Return whether a request has exactly this path, with no router or mount in between."""
        return (
            scope["path"] == self._path
            and scope.get("method") in (self.methods or ())
            and not scope["root_path"]
            and _FASTAPI_SCOPE_KEY not in scope
        )

    def is_compiled(self, app: FastAPI) -> bool:
        """Return whether `call` does what FastAPI would do for a request to this application."""
        return self._steps is not None and not app.dependency_overrides

    async def call(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the dependencies and the handler; return its result, or raise its exception."""
        scope[CANCEL_ON_DISCONNECT] = True
        values: list[Any] = [Request(scope, receive, send)]
        for call, arguments in self._steps or ():
            values.append(await call(*[values[number] for number in arguments]))
        return values[-1]

    def encode(self, result: Any) -> RawResponse:
        """Make the response of a result that is no `Response`."""
        body = orjson.dumps(result, jsonable_encoder, orjson.OPT_APPEND_NEWLINE)
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        return self.status_code or 200, headers, body

    async def _handle_fast(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = scope["app"]
        outcome: Outcome | None = scope.pop(OUTCOME, None)
        if outcome is None and not self.is_compiled(app):
            scope[CANCEL_ON_DISCONNECT] = True
            await self._fastapi_handler(app)(scope, receive, send)
            return
        if outcome is None:
            outcome = Outcome(await self.call(scope, receive, send))
        elif outcome.error is not None:
            raise outcome.error
        result = outcome.result
        if isinstance(result, Response):
            await result(scope, receive, send)
            return
        await respond_by_messages(send, self.encode(result))

    def _fastapi_handler(self, app: FastAPI) -> ASGIApp:
        """Return FastAPI's handler, with the overrides of the application in the scope."""
        if self.dependency_overrides_provider is not app:
            self.dependency_overrides_provider = app
            self._fastapi_app = request_response(self.get_route_handler())
        return self._fastapi_app


def compile_dependencies(dependant: Dependant) -> list[Step] | None:
    """Compile a tree of dependencies to calls, the handler last; None if it is not supported."""
    steps: list[Step] = []
    known: dict[Call, int] = {}

    def add(node: Dependant) -> int | None:
        if node.call in known and node.use_cache:
            return known[node.call]
        if not iscoroutinefunction(node.call) or not _is_supported(node):
            return None
        numbers = {node.request_param_name: 0}
        for child in node.dependencies:
            number = add(child)
            if number is None:
                return None
            numbers[child.name] = number
        parameters = signature(node.call).parameters.values()
        if any(parameter.kind is not Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
            return None
        steps.append((node.call, tuple(numbers[parameter.name] for parameter in parameters)))
        known[node.call] = len(steps)
        return len(steps)

    return steps if add(dependant) is not None else None


def _is_supported(node: Dependant) -> bool:
    names = {field.name for field in fields(node)} - _SUPPORTED
    return not any(getattr(node, name) for name in names)
