"""Gives every request an id, metrics, an access log line, and a response if its handler crashes."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from itertools import count
from urllib.parse import quote

from fastapi.routing import _FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY, _FASTAPI_SCOPE_KEY

from ..asgi import (
    CLIENT_CLOSED_REQUEST,
    CLIENT_DISCONNECTED,
    App,
    Message,
    Receive,
    ResponseTruncated,
    Scope,
    Send,
)
from ..telemetry.metrics import Metrics
from ..telemetry.request_id import current_request_id
from .problem_details import path_in_app

ErrorResponse = Callable[[str], App]
"""Makes the response to an unhandled exception; the argument is the request's id."""

DRAIN_TIMEOUT = 503
"""Status of a request that was cancelled when the drain timeout was over."""
MAX_PATH = 300
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

access = logging.getLogger("access")
logger = logging.getLogger(__name__)


class RequestMiddleware:
    """ASGI middleware. pages: paths whose routes do not set `scope["route"]`, as FastAPI's /docs.

    It sets `scope["state"]["request_id"]` and the response header X-Request-ID. A HEAD request is
    handled by the GET route (RFC 9110, section 9.3.2); the server omits the body.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        access_log: bool,
        error_response: ErrorResponse,
        pages: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._pages = pages
        self._metrics = metrics
        self._access_log = access_log
        self._error_response = error_response
        self._prefix = secrets.token_hex(6)
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        request_id = _client_id(scope["headers"]) or f"{self._prefix}-{next(self._numbers):x}"
        scope.setdefault("state", {})["request_id"] = request_id
        current_request_id.set(request_id)
        header = (b"x-request-id", request_id.encode())
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        started = time.perf_counter()
        self._metrics.request_started()
        try:
            await self._app(scope, receive, observed_send)
        except asyncio.CancelledError as error:
            status = status or (
                CLIENT_CLOSED_REQUEST if CLIENT_DISCONNECTED in error.args else DRAIN_TIMEOUT
            )
            raise
        except Exception as error:
            logger.exception("request failed", extra={"request_id": request_id})
            if status:
                raise ResponseTruncated from error
            await self._error_response(request_id)(scope, receive, observed_send)
        finally:
            seconds = time.perf_counter() - started
            route = _route_template(scope) or self._unnamed(path_in_app(scope))
            self._metrics.request_done(route, status or CLIENT_CLOSED_REQUEST, seconds)
            if self._access_log:
                _write_line(method, scope, status or CLIENT_CLOSED_REQUEST, seconds, request_id)

    def _unnamed(self, path: str) -> str:
        return path if path in self._pages else "unmatched"


def _route_template(scope: Scope) -> str | None:
    """Return the path of the route, with the prefixes of the routers that include it."""
    included = scope.get(_FASTAPI_SCOPE_KEY, {}).get(_FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY)
    return getattr(included or scope.get("route"), "path", None)


def _write_line(method: str, scope: Scope, status: int, seconds: float, request_id: str) -> None:
    path = _path(scope)
    client = scope.get("client")
    access.info(
        "%s %s %d",
        method,
        path,
        status,
        extra={
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            "client": client[0] if client else None,
            "request_id": request_id,
        },
    )


def _path(scope: Scope) -> str:
    """Return the path as it was sent: percent-encoded, so without spaces and line ends."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"], errors="replace").encode()
    path = raw[:MAX_PATH].decode("ascii", "backslashreplace")
    return path if len(raw) <= MAX_PATH else path + "..."


def _client_id(headers: list[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
