"""API keys: if `SERVING_API_KEYS` has any, every route but the probes and the pages requires one.

They are checked around the whole application: before a body is read, and for every path, those of
`/openapi.json` and unknown paths included.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Unauthorized
from .page import OpenRoute
from .problem_details import error_response, path_in_app

_PROBES = frozenset({"/livez", "/readyz"})

SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def probes(app: FastAPI) -> frozenset[str]:
    """Return the paths that require no key: platforms probe without one."""
    return _PROBES.union(*(protocol.probes for protocol in app.state.protocols))


class RequireAPIKey:
    """ASGI middleware. A request requires one of `keys`, as Bearer token or as X-API-Key.

    probes: paths that require none. open_routes: routes that require none.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Iterable[SecretStr],
        probes: frozenset[str],
        open_routes: Iterable[OpenRoute] = (),
    ) -> None:
        self._app = app
        self._probes = probes
        self._open_routes = {route.path: route for route in open_routes}
        self._digests = [_digest(key.get_secret_value().encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope) or self._has_key(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            error = Unauthorized(
                "Send a key: Authorization: Bearer KEY, or X-API-Key: KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await error_response(scope, error)(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = path_in_app(scope)
        if path in self._probes:
            return True
        route = self._open_routes.get(path)
        return route is not None and route.matches(scope)[0] is Match.FULL

    def _has_key(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Compare every key in the headers with every valid key, all of them in constant time."""
        valid = False
        for sent in map(_digest, _sent_keys(headers)):
            for digest in self._digests:
                valid |= hmac.compare_digest(sent, digest)
        return valid


def _sent_keys(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    keys = []
    for name, value in headers:
        if name == b"x-api-key":
            keys.append(value)
        elif name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                keys.append(token.strip(b" "))
    return keys


def _digest(key: bytes) -> bytes:
    """Digests have one length, so that a comparison does not reveal the length of a key."""
    return hashlib.sha256(key).digest()
