"""The application as the server uses it; the service's `create_app` makes it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..asgi import RawResponse, Receive, Scope, Send
from ..errors import RequestError
from ..inference.model import Model
from ..inference.readiness import Readiness
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import Tracer


class AppState(Protocol):
    """`app.state` of an application on which `install` was called.

    model: set by the lifespan; a reload replaces it. entry: how the server calls the application.
    """

    model: Model
    metrics: Metrics
    tracer: Tracer
    readiness: Readiness
    entry: "Entry"
    format_error: Callable[[RequestError, str], RawResponse]


class Entry(Protocol):
    """A shorter way into the application `app`, with the same responses."""

    app: "ServedApp"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request, or run the lifespan."""


class ServedApp(Protocol):
    """An ASGI application with that state."""

    state: AppState

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or run the lifespan."""
