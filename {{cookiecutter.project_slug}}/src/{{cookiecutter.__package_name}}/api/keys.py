"""API keys: nothing but the probes is answered without one, if `SERVING_API_KEYS` has any.

They are asked for around the whole application: before a body is read, and for every route there
is or may be, the documentation and unknown paths included.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Unauthorized
from .problems import problem

PROBES = frozenset({"/livez", "/readyz"})
"""Platforms send no keys with their probes, and the answers tell nothing."""

SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class RequireKey:
    """ASGI middleware. Any of `keys` opens everything, as Bearer token or as X-API-Key."""

    def __init__(self, app: ASGIApp, keys: Iterable[SecretStr]) -> None:
        self._app = app
        self._digests = [_digest(key.get_secret_value().encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_probe(scope) or self._opens(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = Unauthorized(
                "Send a key: Authorization: Bearer KEY, or X-API-Key: KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await problem(refusal)(scope, receive, send)

    def _opens(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Compare what was given with every key, always all of them and in constant time."""
        found = False
        for given in map(_digest, _given(headers)):
            for digest in self._digests:
                found |= hmac.compare_digest(given, digest)
        return found


def _given(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
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
    """Keys of one length: comparing them does not tell how long they are."""
    return hashlib.sha256(key).digest()


def _is_probe(scope: Scope) -> bool:
    return scope["path"].removeprefix(scope.get("root_path", "")) in PROBES
