"""One request and its answer, between the connection and the application (ASGI HTTP, version 2.3).

Same contract as uvicorn's own cycle; the head of an answer is written together with its body, and
a body that is too large or too slow raises where the application receives it.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..errors import BodyTimeout, BodyTooLarge, RequestError, Unavailable
from ..telemetry.requests import CLIENT_LEFT, AnswerCutShort
from .head import Header
from .limits import Limits

App = Callable[[Any, Any, Any], Awaitable[None]]

# What would end a header field, or the head: nothing that an application sets may hold it
# (RFC 9110, section 5.5).
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BROKEN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_USUAL = {b"content-length", b"content-type", b"x-request-id"}
_OURS = {b"connection", b"transfer-encoding"}
_BODILESS = {204, 304}

READ_AHEAD = 2**20
"""Bytes of a body that wait for the application before reading pauses: one read brings up to
256,000, and each pause costs two system calls."""

ABANDON = "serving.abandon"
"""True in the scope of a request that is cancelled when its client goes away. ASGI leaves that
to the application, which would have to listen for it beside its work."""

logger = logging.getLogger("server")


class Owner(Protocol):
    """What an exchange needs of its connection."""

    limits: Limits
    flow: FlowControl
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def default_headers(self) -> list[Header]: ...

    def answered(self, exchange: "Exchange") -> None: ...

    def fail(self, exchange: "Exchange", error: RequestError) -> None: ...


class Exchange:
    """One request on its connection: `receive` and `send` are what the application gets."""

    def __init__(self, owner: Owner, scope: dict[str, Any], keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.gone = False
        """Nobody will read an answer."""
        self.task: asyncio.Task[None] | None = None
        self.more_body = True
        self.started = False
        self.complete = False
        self._owner = owner
        self._chunks: list[bytes] = []
        self._unread = 0
        self._received = 0
        self._ended = False
        self._deadline = 0.0
        self._news: asyncio.Future[None] | None = None
        self._head: list[bytes] | None = None
        self._chunked = False
        self._remaining: int | None = None

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer was written yet."""
        return not self.started or self._head is not None

    async def run(self, app: App) -> None:
        """Call the application; whatever it leaves open is closed."""
        error = RequestError("Something failed that should not.")
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            error = Unavailable("The service ended before the answer.")
            if not self.gone:
                path = self.scope["path"][:100]
                logger.warning("cut off, the time for the drain is over: %s", path)
        except AnswerCutShort:
            pass
        except Exception:
            logger.exception("failed outside of the application's own error handling")
        finally:
            if not self.complete and not self.gone:
                self._owner.fail(self, error)

    def feed(self, body: bytes) -> None:
        """Take a piece of the body; reading pauses while too much of it waits."""
        self._chunks.append(body)
        self._unread += len(body)
        if self._unread > READ_AHEAD:
            self._owner.flow.pause_reading()
        self.wake()

    def end(self) -> None:
        """The body is whole."""
        self.more_body = False
        self.wake()

    def leave(self) -> None:
        """The client is gone, or got another answer: what only it waits for is given up."""
        self.gone = True
        self.wake()
        if self.task is not None and self.scope.get(ABANDON):
            self.task.cancel(CLIENT_LEFT)

    def wake(self) -> None:
        """Let `receive` look again."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body, or the news that nobody waits for an answer.

        Raises BodyTooLarge and BodyTimeout.
        """
        while not (self.gone or self.complete):
            if self._chunks or not (self.more_body or self._ended):
                return self._next_chunk()
            self._owner.flow.resume_reading()
            await self._wait()
        return {"type": "http.disconnect"}

    def _next_chunk(self) -> dict[str, Any]:
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        self._received += len(body)
        if self._received > self._owner.limits.body_bytes:
            raise BodyTooLarge.over(self._owner.limits.body_bytes)
        self._ended = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _wait(self) -> None:
        loop = self._owner.loop
        self._news = news = loop.create_future()
        timer = None
        if self.more_body:
            if not self._deadline:
                self._deadline = loop.time() + self._owner.limits.body_timeout
                self._invite()
            timer = loop.call_at(self._deadline, self._too_slow, news)
        try:
            await news
        finally:
            if timer is not None:
                timer.cancel()

    def _invite(self) -> None:
        """Tell a client that asked whether to send its body to do so (RFC 9110, 10.1.1)."""
        asked = any(
            name == b"expect" and value.lower() == b"100-continue"
            for name, value in self.scope["headers"]
        )
        if asked and not self._received and not self.started:
            self._owner.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _too_slow(self, news: "asyncio.Future[None]") -> None:
        if not news.done():
            news.set_exception(BodyTimeout.after(self._owner.limits.body_timeout))

    async def send(self, message: dict[str, Any]) -> None:
        """Send the head or a piece of the body; nothing is sent to a client that is gone."""
        if self._owner.flow.write_paused and not self.gone:
            await self._owner.flow.drain()
        if self.gone:
            await asyncio.sleep(0)  # an endless answer must come to hear of it
            return
        if message["type"] == "http.response.start" and not self.started:
            self._start(message)
        elif message["type"] == "http.response.body" and self.started and not self.complete:
            self._continue(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} was sent out of turn")

    def _start(self, message: dict[str, Any]) -> None:
        """Compose the head; it is written with the first piece of the body."""
        status = message["status"]
        head = [STATUS_LINE[status]]
        for name, value in self._owner.default_headers():
            if name == b"connection":
                self.keep_alive = False
            else:
                head += (name, b": ", value, b"\r\n")
        length = None
        for name, value in message.get("headers", ()):
            if (name not in _USUAL and not _NAME.fullmatch(name)) or _BROKEN_VALUE.search(value):
                raise RuntimeError("a header of the answer cannot be sent")
            lower = name.lower()
            if lower == b"content-length":
                length = int(value)
            elif lower == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
            if lower not in _OURS:
                head += (lower, b": ", value, b"\r\n")
        bodiless = status in _BODILESS or self.scope["method"] == "HEAD"
        if length is None and not bodiless:
            self._chunked = self.scope["http_version"] == "1.1"
            if self._chunked:
                head.append(b"transfer-encoding: chunked\r\n")
            else:  # the end of the connection is the end of the body
                self.keep_alive = False
        self._remaining = length
        head.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self._head = head
        self.started = True

    def _continue(self, body: bytes, more_body: bool) -> None:
        parts, self._head = self._head or [], None
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
                    raise RuntimeError("the body of an answer has another length than declared")
        if parts:
            self._owner.transport.write(b"".join(parts))
        if not more_body:
            self.complete = True
            self.wake()
            self._owner.answered(self)
