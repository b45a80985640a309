"""Gives every request an id, metrics, an access log line, and a response if its handler crashes.

It reads the trace that a request belongs to, and hands a recorded one to the exporter.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import count

from fastapi.routing import _FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY, _FASTAPI_SCOPE_KEY

from ..asgi import (
    CLIENT_CLOSED_REQUEST,
    CLIENT_DISCONNECTED,
    App,
    Header,
    Message,
    Receive,
    Responder,
    ResponseTruncated,
    Scope,
    Send,
    respond_at_once,
)
from ..setting_types import Network
from ..telemetry.metrics import Metrics
from ..telemetry.request_context import RequestContext, current_request
from ..telemetry.trace_context import RequestSpan
from ..telemetry.tracing import Tracer
from .access_log import AccessLog, sent_path
from .client_address import client_address
from .problem_details import path_in_app

ErrorResponse = Callable[[str], App]
"""Makes the response to an unhandled exception; the argument is the request's id."""

DRAIN_TIMEOUT = 503
"""Status of a request that was cancelled when the drain timeout was over."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """ASGI middleware. pages: paths whose routes do not set `scope["route"]`, as FastAPI's /docs.

    access_log: None if requests are not logged. untraced: paths of requests that are no spans, as
    probes. trusted_proxies: whose headers name the client.

    It sets `scope["state"]["request_id"]` and the response header X-Request-ID. A HEAD request is
    handled by the GET route (RFC 9110, section 9.3.2); the server omits the body.
    """

    def __init__(
        self,
        app: App,
        *,
        metrics: Metrics,
        tracer: Tracer,
        access_log: AccessLog | None,
        error_response: ErrorResponse,
        pages: frozenset[str] = frozenset(),
        untraced: frozenset[str] = frozenset(),
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._app = app
        self._pages = pages
        self._metrics = metrics
        self._tracer = tracer
        self._untraced = untraced
        self._trusted_proxies = trusted_proxies
        self._access_log = access_log
        self._error_response = error_response
        self._prefix = secrets.token_hex(6)
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, self._with_tracer(send))
            return
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        request_id, traceparent = _ids(scope["headers"])
        request_id = request_id or f"{self._prefix}-{next(self._numbers):x}"
        scope.setdefault("state", {})["request_id"] = request_id
        trace = None
        if traceparent is not None or self._tracer.samples:
            trace = self._tracer.begin(traceparent, scope["headers"])
        context = RequestContext(request_id, trace)
        current_request.set(context)
        observed = _Response(send, (b"x-request-id", request_id.encode()))
        started = time.perf_counter()
        self._metrics.request_started()
        try:
            await self._app(scope, receive, observed.send)
        except asyncio.CancelledError as error:
            observed.status = observed.status or (
                CLIENT_CLOSED_REQUEST if CLIENT_DISCONNECTED in error.args else DRAIN_TIMEOUT
            )
            raise
        except Exception as error:
            logger.exception("request failed", extra={"request_id": request_id})
            if observed.status:
                raise ResponseTruncated from error
            await self._error_response(request_id)(scope, receive, observed.send)
        finally:
            seconds = time.perf_counter() - started
            route = _route_template(scope) or self._unnamed(path_in_app(scope))
            status = observed.status or CLIENT_CLOSED_REQUEST
            self._metrics.request_done(route, status, seconds)
            if self._access_log is not None:
                self._access_log.write(method, scope, status, seconds)
            if trace is not None and trace.recorded and path_in_app(scope) not in self._untraced:
                attributes = {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    **self._attributes(scope, context),
                }
                span = RequestSpan(trace, f"{method} {route}", attributes, started, seconds)
                self._tracer.finish(span)

    def _attributes(self, scope: Scope, context: RequestContext) -> dict[str, str | int]:
        """What a span says about a request besides its route and status."""
        return {
            "url.path": sent_path(scope),
            "url.scheme": scope.get("scheme", "http"),
            "client.address": client_address(scope, self._trusted_proxies) or "",
            "serving.request_id": context.request_id,
            "serving.rows": context.rows,
            "serving.model.version": context.model_version,
        }

    def _with_tracer(self, send: Send) -> Send:
        """Start the exporter of spans when the lifespan has begun, and end it with it.

        By then a worker is forked; and whatever serves the application runs its lifespan.
        """

        async def observed_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._tracer.start()
            elif message["type"].startswith("lifespan.shutdown"):
                await self._tracer.stop()
            await send(message)

        return observed_send

    def _unnamed(self, path: str) -> str:
        return path if path in self._pages else "unmatched"


class _Response(Responder):
    """The response to one request, on its way: adds a header, and keeps its status.

    status: 0 until the response has begun.
    """

    __slots__ = ("_header", "_send", "status")

    def __init__(self, send: Send, header: Header) -> None:
        self._send = send
        self._header = header
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a message of the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)

    def respond(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a whole response, if whatever is around the application has no part in it."""
        self.status = status
        if respond_at_once(self._send, (status, [*headers, self._header], body)):
            return True
        self.status = 0
        return False


def _route_template(scope: Scope) -> str | None:
    """Return the path of the route, with the prefixes of the routers that include it."""
    included = scope.get(_FASTAPI_SCOPE_KEY, {}).get(_FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY)
    return getattr(included or scope.get("route"), "path", None)


def _ids(headers: list[tuple[bytes, bytes]]) -> tuple[str | None, bytes | None]:
    """The id that the client gave the request, if it is valid, and its `traceparent`."""
    request_id = traceparent = None
    for name, value in headers:
        if name == b"x-request-id" and request_id is None and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent":
            traceparent = value
    return request_id, traceparent
