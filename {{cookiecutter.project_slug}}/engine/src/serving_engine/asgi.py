"""The contract between the HTTP connection and the web application, beyond ASGI itself."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
RawResponse = tuple[int, list[Header], bytes]
"""Status, headers and body of a whole response."""

CANCEL_ON_DISCONNECT = "serving.cancel_on_disconnect"
"""True in the scope of a request whose task is cancelled when its client disconnects. In ASGI, the
application would have to wait for the disconnect beside its work."""

CLIENT_DISCONNECTED = "the client disconnected"
"""Message of a cancellation for that reason. Any other cancellation means that the drain timeout is
over, and the response is 503."""

CLIENT_CLOSED_REQUEST = 499
"""Status in logs and metrics of a request whose client disconnected, as in nginx."""


class ResponseTruncated(Exception):
    """Makes the server close a connection whose response has begun; the log has the reason."""


class Responder:
    """An object whose method is the `send` of a request, and which can respond in one call."""

    def respond(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a whole response as if by its two messages; False if it must be sent by those.

        headers: not checked again, so only those of the engine: names in lower case, Content-Length
        among them, and no Connection.
        """
        raise NotImplementedError


def respond_at_once(send: Send, response: RawResponse) -> bool:
    """Send a whole response in one call; False if `send`, or now, allows only messages."""
    responder = getattr(send, "__self__", None)
    if not isinstance(responder, Responder):
        return False
    return responder.respond(*response)


async def respond_by_messages(send: Send, response: RawResponse) -> None:
    """Send a whole response by the two messages of ASGI."""
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BodyHolder:
    """An object whose method is the `receive` of a request, and which may have its whole body."""

    def whole_body(self) -> bytes | None:
        """Return the body as `receive` would; None if it is not complete or was received."""
        raise NotImplementedError
