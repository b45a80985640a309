"""Pages for browsers: one HTML file each. `page.html`, at `/`, is where people try the model.

A page holds nothing of the model, so it needs no API key: its script asks for one, and sends it
with what it requests. The Content-Security-Policy allows the page's own script and style by their
hashes, and requests to this service alone.
"""

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope


class OpenRoute(Route):
    """A route of the engine that needs no key; a route of the service at its path replaces it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request that no other route of the application matches."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            others = (route for route in scope["app"].routes if route is not self)
            if any(route.matches(scope)[0] is not Match.NONE for route in others):
                return Match.NONE, {}
        return match, child_scope


class PageRoute(OpenRoute):
    """The route of a page.

    file: the name of its HTML file, in this folder. sources: what it loads besides that is in it,
    for each directive of the policy.
    """

    def __init__(self, path: str, file: str, **sources: str) -> None:
        super().__init__(path, self._respond, include_in_schema=False)
        self._html = Path(__file__).with_name(file).read_bytes()
        self._headers = {
            "Content-Security-Policy": _policy(self._html, sources),
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def _respond(self, _request: Request) -> Response:
        return Response(self._html, media_type="text/html", headers=self._headers)


def _policy(html: bytes, sources: dict[str, str]) -> str:
    allowed = {
        "default": "'none'",
        "script": _hash_of(b"script", html),
        "style": _hash_of(b"style", html),
        "connect": "'self'",
        "img": "data:",
    }
    for directive, source in sources.items():
        allowed[directive] += f" {source}"
    directives = [f"{directive}-src {source}" for directive, source in allowed.items()]
    others = ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return "; ".join([*directives, *others])


def _hash_of(tag: bytes, html: bytes) -> str:
    """Return the source expression for the content of the only element with this tag."""
    (content,) = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
