"""One request and its response, between connection and application (ASGI HTTP, version 2.3).

The contract is that of uvicorn's own cycle; besides, the head of a response is written together
with its body, and `receive` raises for a body that is too large or too slow.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..asgi import (
    CANCEL_ON_DISCONNECT,
    CLIENT_DISCONNECTED,
    App,
    BodyHolder,
    Header,
    Message,
    Responder,
    ResponseTruncated,
    Scope,
)
from ..errors import BodyTimeout, BodyTooLarge, RequestError, Unavailable
from .limits import ConnectionLimits

# A header field that an application sets must not contain a character that ends the field or the
# head (RFC 9110, section 5.5).
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_INVALID_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_KNOWN_NAMES = {b"content-length", b"content-type", b"x-request-id"}
_SET_HERE = {b"connection", b"transfer-encoding"}
_BODILESS = {204, 304}

READ_AHEAD = 2**20
"""Bytes of a body that wait for the application before reading pauses: one read brings up to
256,000, and each pause costs two system calls."""

logger = logging.getLogger("server")


class CycleConnection(Protocol):
    """The part of a connection that its cycles use."""

    limits: ConnectionLimits
    flow: FlowControl
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def default_headers(self) -> list[Header]: ...

    def on_cycle_complete(self, cycle: "RequestResponseCycle") -> None: ...

    def fail(self, cycle: "RequestResponseCycle", error: RequestError) -> None: ...


class RequestResponseCycle(BodyHolder, Responder):
    """One request on its connection. The application is called with `receive` and `send`."""

    def __init__(self, connection: CycleConnection, scope: Scope, keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.disconnected = False
        """The client disconnected, or received another response."""
        self.task: asyncio.Task[None] | None = None
        self.more_body = True
        self.started = False
        self.complete = False
        self.received = 0
        """Bytes of the body that have arrived."""
        self._connection = connection
        self._chunks: list[bytes] = []
        self._unread = 0
        self._ended = False
        self._deadline = 0.0
        self._wakeup: asyncio.Future[None] | None = None
        self._response_head: list[bytes] | None = None
        self._chunked = False
        self._remaining: int | None = None

    @property
    def nothing_sent(self) -> bool:
        """Whether no byte of the response was written yet."""
        return not self.started or self._response_head is not None

    async def run(self, app: App) -> None:
        """Call the application. Close the connection if it ends without a complete response."""
        error = RequestError("Internal error.")
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            error = Unavailable("The service shut down before the response.")
            if not self.disconnected:
                path = self.scope["path"][:100]
                logger.warning("drain timeout: request cancelled: %s", path)
        except ResponseTruncated:
            pass
        except Exception:
            logger.exception("the application did not handle an exception")
        finally:
            if not self.complete and not self.disconnected:
                self._connection.fail(self, error)

    def feed_body(self, body: bytes) -> None:
        """Store a part of the body; reading pauses while too much of it waits."""
        self._chunks.append(body)
        self.received += len(body)
        self._unread += len(body)
        if self._unread > READ_AHEAD:
            self._connection.flow.pause_reading()
        self.wake()

    def end_body(self) -> None:
        """The body is complete."""
        self.more_body = False
        self.wake()

    def disconnect(self) -> None:
        """The client disconnected, or received another response: cancel its prediction."""
        self.disconnected = True
        self._chunks.clear()
        self.wake()
        if self.task is not None and self.scope.get(CANCEL_ON_DISCONNECT):
            self.task.cancel(CLIENT_DISCONNECTED)

    def wake(self) -> None:
        """Wake up `receive`."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def receive(self) -> Message:
        """Return the next part of the body, or `http.disconnect` if the client disconnected.

        Raises BodyTooLarge and BodyTimeout.
        """
        while not (self.disconnected or self.complete):
            if self._chunks or not (self.more_body or self._ended):
                body = self._take_body()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            self._connection.flow.resume_reading()
            await self._wait()
        return {"type": "http.disconnect"}

    def whole_body(self) -> bytes | None:
        """Return the whole body, if it has arrived before anything was received of it."""
        begun = self._ended or self._unread < self.received
        if begun or self.more_body or self.disconnected or self.complete:
            return None
        return self._take_body()

    def _take_body(self) -> bytes:
        """Return what has arrived. Raises BodyTooLarge."""
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        if self.received > self._connection.limits.body_bytes:
            raise BodyTooLarge.over(self._connection.limits.body_bytes)
        self._ended = not self.more_body
        return body

    async def _wait(self) -> None:
        loop = self._connection.loop
        self._wakeup = wakeup = loop.create_future()
        timer = None
        if self.more_body:
            if not self._deadline:
                self._deadline = loop.time() + self._connection.limits.body_timeout
                self._send_continue()
            timer = loop.call_at(self._deadline, self._too_slow, wakeup)
        try:
            await wakeup
        finally:
            if timer is not None:
                timer.cancel()

    def _send_continue(self) -> None:
        """Send 100 to a client that waits for it before it sends its body (RFC 9110, 10.1.1)."""
        expected = any(
            name == b"expect" and value.lower() == b"100-continue"
            for name, value in self.scope["headers"]
        )
        if expected and not self.received and not self.started:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _too_slow(self, wakeup: "asyncio.Future[None]") -> None:
        if not wakeup.done():
            wakeup.set_exception(BodyTimeout.after(self._connection.limits.body_timeout))

    async def send(self, message: Message) -> None:
        """Send the head or a part of the body, unless the client disconnected."""
        if self._connection.flow.write_paused and not self.disconnected:
            await self._connection.flow.drain()
        if self.disconnected:
            await asyncio.sleep(0)  # so that an endless response can be cancelled
            return
        if message["type"] == "http.response.start" and not self.started:
            self._start_response(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self.started and not self.complete:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']}")

    def respond(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a whole response, unless the client must read first, or has disconnected."""
        if self._connection.flow.write_paused or self.disconnected or self.started:
            return False
        if self.scope["method"] == "HEAD":
            return False
        parts = self._begin_head(status)
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", body)
        self.started = True
        self._connection.transport.write(b"".join(parts))
        self._end()
        return True

    def _begin_head(self, status: int) -> list[bytes]:
        """The first lines of the response: its status and the headers of every response."""
        lines = [STATUS_LINE[status]]
        for name, value in self._connection.default_headers():
            if name == b"connection":
                self.keep_alive = False
            else:
                lines += (name, b": ", value, b"\r\n")
        return lines

    def _end(self) -> None:
        self.complete = True
        self.wake()
        self._connection.on_cycle_complete(self)

    def _start_response(self, status: int, headers: Iterable[Header]) -> None:
        """Compose the response's head; it is written with the first part of the body."""
        lines = self._begin_head(status)
        length = None
        for name, value in headers:
            if (name not in _KNOWN_NAMES and not _NAME.fullmatch(name)) or _INVALID_VALUE.search(
                value
            ):
                raise RuntimeError("invalid header in the response")
            lower = name.lower()
            if lower == b"content-length":
                length = int(value)
            elif lower == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
            if lower not in _SET_HERE:
                lines += (lower, b": ", value, b"\r\n")
        bodiless = status in _BODILESS or self.scope["method"] == "HEAD"
        if length is None and not bodiless:
            self._chunked = self.scope["http_version"] == "1.1"
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
            else:  # the body ends where the connection ends
                self.keep_alive = False
        self._remaining = length
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self._response_head = lines
        self.started = True

    def _send_body(self, body: bytes, more_body: bool) -> None:
        parts = self._response_head or []
        self._response_head = None
        if self.scope["method"] == "HEAD":
            pass
        elif self._chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more_body:
                parts.append(b"0\r\n\r\n")
        else:
            parts.append(body)
            if self._remaining is not None:
                self._remaining -= len(body)
                if self._remaining < 0 or (self._remaining and not more_body):
                    raise RuntimeError("the response body does not have the declared length")
        if parts:
            self._connection.transport.write(b"".join(parts))
        if not more_body:
            self._end()
