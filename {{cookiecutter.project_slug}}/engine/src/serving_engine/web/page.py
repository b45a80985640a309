"""The page at `/`, where people try the model in a browser: `page.html`, and nothing else.

It holds nothing of the model, so it needs no API key: its script asks for one, and sends it when it
reads `/model` and `/openapi.json` and predicts. Its Content-Security-Policy allows its own script
and style by their hashes, and requests to this service alone.
"""

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

PATH = "/"
_HTML = Path(__file__).with_name("page.html").read_bytes()


class PageRoute(Route):
    """The route of the page; a service that has a route of its own at `/` serves that instead."""

    def __init__(self) -> None:
        super().__init__(PATH, _page, include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request that no other route of the application matches."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            others = (route for route in scope["app"].routes if route is not self)
            if any(route.matches(scope)[0] is not Match.NONE for route in others):
                return Match.NONE, {}
        return match, child_scope


def _hash_of(tag: bytes) -> str:
    """Return the source expression for the content of the only element with this tag."""
    (content,) = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), _HTML, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash_of(b'script')}; style-src {_hash_of(b'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def _page(_request: Request) -> Response:
    return Response(_HTML, media_type="text/html", headers=_HEADERS)
