"""A FastAPI route for the hot path: the same contract, resolved once instead of per request.

FastAPI walks a route's tree of dependencies on every request, inside two exit stacks; for the
handlers of a model server that is most of what a request costs. Where every dependency is a plain
coroutine function of the request and of other dependencies, the tree is a list of calls that is
known when the route is made. Anything else (parameters, generators, sync functions), and any
override in `app.dependency_overrides`, takes FastAPI's own way.
"""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction, signature
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute, request_response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ..serving.exchange import ABANDON

Call = Callable[..., Awaitable[Any]]
Step = tuple[Call, tuple[int, ...]]
"""A call and its arguments: each the number of the value it takes. Value 0 is the request, value n
what step n gave."""

_UNSUPPORTED = (
    "path_params",
    "query_params",
    "header_params",
    "cookie_params",
    "body_params",
    "websocket_param_name",
    "http_connection_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
)


class LeanRoute(APIRoute):
    """Use it as `APIRouter(route_class=LeanRoute)`, and add its routes to the application itself.

    A handler returns a `Response`, or anything that orjson or FastAPI's encoder can write.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._steps = plan(self.dependant)
        self._complete = self.app
        self.app = self._lean
        self._path = None if self.param_convertors else self.path

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this route answers a request; told without the regular expression if it is."""
        if self._straight(scope):
            return Match.FULL, {"endpoint": self.endpoint, "path_params": {}, "route": self}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matched."""
        if self._straight(scope):
            await self._lean(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def _straight(self, scope: Scope) -> bool:
        """Whether a request is for this very path, with no router or mount in between."""
        return (
            scope["path"] == self._path
            and scope.get("method") in (self.methods or ())
            and not scope["root_path"]
            and "fastapi" not in scope
        )

    async def _lean(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = scope["app"]
        scope[ABANDON] = True  # a prediction that nobody awaits any more is not made
        if self._steps is None or app.dependency_overrides:
            await self._completely(app)(scope, receive, send)
            return
        values: list[Any] = [Request(scope, receive, send)]
        for call, arguments in self._steps:
            values.append(await call(*[values[number] for number in arguments]))
        answer = values[-1]
        if isinstance(answer, Response):
            await answer(scope, receive, send)
            return
        body = orjson.dumps(answer, default=jsonable_encoder)
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        status = self.status_code or 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _completely(self, app: Any) -> Any:
        """FastAPI's own way, with the overrides of the application that serves the request."""
        if self.dependency_overrides_provider is not app:
            self.dependency_overrides_provider = app
            self._complete = request_response(self.get_route_handler())
        return self._complete


def plan(dependant: Dependant) -> list[Step] | None:
    """The calls of a tree of dependencies in order, the handler last; None if it needs more."""
    steps: list[Step] = []
    known: dict[Call, int] = {}

    def add(node: Dependant) -> int | None:
        if node.call in known and node.use_cache:
            return known[node.call]
        if not iscoroutinefunction(node.call) or any(getattr(node, n) for n in _UNSUPPORTED):
            return None
        numbers = {node.request_param_name: 0}
        for child in node.dependencies:
            number = add(child)
            if number is None:
                return None
            numbers[child.name] = number
        given = signature(node.call).parameters.values()
        if any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in given):
            return None
        steps.append((node.call, tuple(numbers[one.name] for one in given)))
        known[node.call] = len(steps)
        return len(steps)

    return steps if add(dependant) is not None else None
