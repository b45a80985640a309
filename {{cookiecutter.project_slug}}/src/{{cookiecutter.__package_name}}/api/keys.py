"""API keys: nothing but the probes is answered without one, if `SERVING_API_KEYS` has any.

They are asked for around the whole application: before a body is read, and for every route there
is or may be, the documentation and unknown paths included.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Unauthorized
from .problems import own_path, refuse

_PROBES = frozenset({"/livez", "/readyz"})

SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def probes(app: FastAPI) -> frozenset[str]:
    """Paths that need no key: platforms probe without one, and the answers tell nothing."""
    return _PROBES.union(*(protocol.probes for protocol in app.state.protocols))


class RequireKey:
    """ASGI middleware. Any of `keys` opens everything, as Bearer token or as X-API-Key.

    probes: paths that are open to all.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[SecretStr], probes: frozenset[str]) -> None:
        self._app = app
        self._probes = probes
        self._digests = [_digest(key.get_secret_value().encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_probe(scope) or self._opens(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = Unauthorized(
                "Send a key: Authorization: Bearer KEY, or X-API-Key: KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refuse(scope, refusal)(scope, receive, send)

    def _is_probe(self, scope: Scope) -> bool:
        return own_path(scope) in self._probes

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
