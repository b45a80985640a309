"""Around every request: its id, its metrics, its line in the log, and the last safety net."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any
from urllib.parse import quote

from .metrics import Metrics

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Exception, str], Any]
"""Makes the answer, an ASGI application, to an exception that nothing handled, and its id."""

CLIENT_GONE = 499
CUT_OFF = 503
CLIENT_LEFT = "the client left"
"""Message of a cancellation for that reason; any other is the end of a drain's time, and the server
answers 503 then."""
LONGEST_PATH = 300
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

access = logging.getLogger("access")
logger = logging.getLogger(__name__)


class AnswerCutShort(Exception):
    """Tells the server to close a connection whose answer has begun; the reason is in the log."""


class RequestTelemetry:
    """ASGI middleware. pages: paths that are routes without saying so, as FastAPI's /docs.

    It sets `scope["state"]["request_id"]` and answers with X-Request-ID.

    A GET route answers HEAD as well (RFC 9110, section 9.3.2); the server leaves the body out.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        access_log: bool,
        refuse: Refuse,
        pages: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._pages = pages
        self._metrics = metrics
        self._access_log = access_log
        self._refuse = refuse
        self._prefix = secrets.token_hex(6)
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        request_id = _given_id(scope["headers"]) or f"{self._prefix}-{next(self._numbers):x}"
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        started = time.perf_counter()
        self._metrics.request_started()
        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError as error:
            status = status or (CLIENT_GONE if CLIENT_LEFT in error.args else CUT_OFF)
            raise
        except Exception as error:
            logger.exception("request failed", extra={"request_id": request_id})
            if status:
                raise AnswerCutShort from error
            await self._refuse(error, request_id)(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", None) or self._unnamed(scope["path"])
            self._metrics.request_done(route, status or CLIENT_GONE, seconds)
            if self._access_log:
                _write_line(method, scope, status or CLIENT_GONE, seconds, request_id)

    def _unnamed(self, path: str) -> str:
        return path if path in self._pages else "unmatched"


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
    """The path as it was sent: percent-encoded, so that it has no spaces and no line ends."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"], errors="replace").encode()
    path = raw[:LONGEST_PATH].decode("ascii", "backslashreplace")
    return path if len(raw) <= LONGEST_PATH else path + "..."


def _given_id(headers: list[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
