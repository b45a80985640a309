"""The short way of a request to a fast route: past the layers that do nothing for it.

FastAPI and Starlette put eight layers around the routes of an application. Each is a coroutine, and
some wrap `send` in another: for a quick model they took a fifth of the time of a request. A request
to a `FastRoute` needs none of them if all goes well. Two of the engine's objects pass them by:
`Entry` those around the engine's own middleware, `ShortWay` those within. An owner's middleware is
called in any case, as it is added around `ShortWay`, or else there is no short way.

Whatever is not known here takes the long way, and gets the same bytes: another kind of route, a
dependency that is overridden, an application with other layers. So does what ends in anything but
JSON: the exception or the `Response` is handed over to the layers.
"""

from collections.abc import Awaitable

from fastapi import APIRouter, FastAPI
from fastapi._body_limit import AppBodyLimitMiddleware
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi import respond_at_once, respond_by_messages
from .fast_route import OUTCOME, FastRoute, Outcome
from .request_middleware import RequestMiddleware

_OUTER = (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware)
"""The layers around the middleware of an application. They handle exceptions that leave it, and
`RequestMiddleware` lets none leave but that for a response that was cut off."""


class Entry:
    """What the server calls for an application. It goes straight to the engine's middleware."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._stack: ASGIApp | None = None
        self._first: RequestMiddleware | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle a request, or run the lifespan, which makes the application's layers."""
        app = self.app
        if app.middleware_stack is not self._stack:
            self._stack = app.middleware_stack
            self._first = self._find()
        if self._first is None or scope["type"] != "http" or app.root_path:
            return app(scope, receive, send)
        scope["app"] = app
        return self._first(scope, receive, send)

    def _find(self) -> RequestMiddleware | None:
        """The engine's middleware, if there are only the known layers around it."""
        telemetry = self.app._telemetry
        if telemetry["tracing"] or telemetry["metrics"] or telemetry["logs"]:
            return None
        if type(self.app).__call__ is not FastAPI.__call__:
            return None
        layer: object = self._stack
        for kind in _OUTER:
            if type(layer) is not kind:
                return None
            layer = layer.app
        return layer if type(layer) is RequestMiddleware else None


class ShortWay:
    """ASGI middleware, the innermost. router: that of the application."""

    def __init__(self, app: ASGIApp, *, router: APIRouter) -> None:
        self._app = app
        self._router = router
        self._is_innermost = (
            type(app) is ExceptionMiddleware
            and type(app.app) is AsyncExitStackMiddleware
            and app.app.app is router
            and type(router) is APIRouter
            and router.middleware_stack == router.app
            and not router.form_limits
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._find(scope) if self._is_innermost else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["router"] = self._router
        scope.update(endpoint=route.endpoint, path_params={}, route=route)
        try:
            result = await route.call(scope, receive, send)
            if not isinstance(result, Response):
                response = route.encode(result)
        except Exception as error:
            scope[OUTCOME] = Outcome(error=error)
            await self._app(scope, receive, send)
            return
        if isinstance(result, Response):
            scope[OUTCOME] = Outcome(result)
            await self._app(scope, receive, send)
            return
        if not respond_at_once(send, response):
            await respond_by_messages(send, response)

    def _find(self, scope: Scope) -> FastRoute | None:
        """The route that the router would choose, if every route before it is fast too."""
        if scope["type"] != "http" or "fastapi.telemetry" in scope:
            return None
        for route in self._router.routes:
            if type(route) is not FastRoute or route.param_convertors:
                return None
            if route.matches_exactly(scope):
                return route if route.is_compiled(scope["app"]) else None
        return None
