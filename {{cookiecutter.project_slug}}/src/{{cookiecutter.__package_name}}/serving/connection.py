"""One client's connection: uvicorn's HTTP/1.1 protocol, with bounds on what a client may take.

What cannot become a request is answered here and closed, once: 400, 408, 414, 431. httptools
holds back a header until it is whole, so bytes are counted as they arrive. Time is checked by a
sweep over all connections (`overdue`) instead of a timer for each request.
"""

import asyncio
import math
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..errors import HeaderTimeout, MalformedRequest, RequestError
from ..telemetry.metrics import Metrics
from . import head
from .exchange import Exchange
from .limits import Limits

IDLE, HEAD, BODY, CLOSING = range(4)
LINGER = 2.0
"""Seconds in which a client that is still sending may read its answer: closing at once would
reset the connection and take the answer with it (as nginx's lingering_close)."""


class Connection(HttpToolsProtocol):
    """Reads requests, starts the application for each in turn, and ends what takes too long."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        metrics: Metrics,
        refuse: head.Refuse,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._metrics = metrics
        self._word = refuse
        self._phase = IDLE
        self._deadline = self.loop.time() + limits.header_timeout
        self._ending = False
        self._head_bytes = 0
        self._all_head = True
        """Whether what arrived last belongs to one unfinished head, all of it."""
        self._active: Exchange | None = None
        self._reading: Exchange | None = None
        """The request whose body is being read."""
        self._waiting: deque[Exchange] = deque()
        """Pipelined requests, sent before the answer to the one before."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what is being predicted for it is dropped."""
        self._phase, self._ending = CLOSING, True
        self._waiting.clear()
        for exchange in (self._active, self._reading):
            if exchange is not None and not exchange.complete:
                exchange.leave()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection after the answer it owes."""
        if self._active is not None:
            self._active.keep_alive = False
        else:
            self._close()

    def overdue(self, now: float) -> None:
        """End the connection if it had its time."""
        if now < self._deadline:
            return
        if self._phase == HEAD:
            self._refuse(HeaderTimeout.after(self.limits.header_timeout))
        elif self._phase == CLOSING or self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read what it asked for
        else:
            self._close()

    def pause_writing(self) -> None:
        """The client does not read its answer: it has as long as for a request's body."""
        super().pause_writing()
        self._deadline = self.loop.time() + self.limits.body_timeout

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        if self._active is not None:
            self._deadline = math.inf

    def default_headers(self) -> list[head.Header]:
        """The headers of every answer; `Connection: close` among them while draining."""
        return self.server_state.default_headers

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._phase == CLOSING:
            return
        self._all_head = self._phase != BODY
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            found = error.__context__  # what a callback raised
            malformed = MalformedRequest("The request is not HTTP/1.1.")
            self._refuse(found if isinstance(found, RequestError) else malformed)
        if self._phase == HEAD and self._all_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(head.too_large_head(self.url, self.headers, self.limits))

    def on_message_begin(self) -> None:
        """The first byte of a request is here."""
        super().on_message_begin()
        if self._phase == CLOSING:
            return
        self._phase = HEAD
        self._head_bytes = 0
        self._deadline = self.loop.time() + self.limits.header_timeout

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field is whole."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind the one that is being answered.

        What it raises comes out of `feed_data` as the context of a parser's error.
        """
        if self.parser.should_upgrade() or self._phase == CLOSING:
            return
        version = self.parser.get_http_version()
        head.check_head(self.url, self.headers, version, self.limits)
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        head.describe(scope, self.parser.get_method(), self.url, version)
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self._phase = BODY
        self._all_head = False
        self._deadline = math.inf
        self._reading = exchange = Exchange(self, scope, keep_alive)
        if self._active is None:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of the body is here. Of a request that was answered already, it is discarded."""
        if self._reading is not None and not self._reading.complete:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self._reading
        if exchange is None:
            return
        self._reading = None
        self._phase = IDLE
        exchange.end()
        if exchange.complete and self._active is None:
            self._await_next()

    def answered(self, exchange: Exchange) -> None:
        """An answer is complete: go on, or close."""
        self._active = None
        if not exchange.keep_alive:
            self._close()
        elif not self.transport.is_closing():
            self.flow.resume_reading()
            if self._waiting:
                self._start(self._waiting.popleft())
            elif self._phase != HEAD:
                self._await_next()

    def fail(self, exchange: Exchange, error: RequestError) -> None:
        """The application ended without an answer: close, so that the client does not wait."""
        exchange.leave()
        if exchange.silent and not self.transport.is_closing():
            self._write_last(error, exchange.scope["path"])
        self._close()

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        exchange.task = task = self.loop.create_task(exchange.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _await_next(self) -> None:
        """Bound the wait for the next request, or for what is left of an answered one."""
        patience = self.limits.keep_alive if self._phase == IDLE else self.limits.body_timeout
        self._deadline = self.loop.time() + patience

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """httptools would leave the body unread. CONNECT is no offer, but meant for proxies."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(MalformedRequest("This is not a proxy."))
            return
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head.without_upgrade(method, self.url, self.headers) + rest)

    def _refuse(self, error: RequestError) -> None:
        """Answer what cannot become a request, if no answer of another one is due, and close."""
        self._metrics.refused(error.kind)
        exchange, self._reading = self._reading, None
        self._waiting.clear()
        if exchange is not None and not exchange.complete and exchange is self._active:
            exchange.leave()
            self._active = None
            if not exchange.silent:
                self._close()
                return
        elif self._active is not None:
            self._active.keep_alive = False
            self._phase = CLOSING
            self._deadline = math.inf
            return
        elif exchange is not None:  # it had its answer
            self._close()
            return
        self._write_last(error, head.path_of(self.url))
        self._close()

    def _write_last(self, error: RequestError, path: str) -> None:
        answer = self._word(error, path)
        self.transport.write(head.last_answer(answer, self.default_headers()))

    def _close(self) -> None:
        """Close, once what was written is out; a client that is still sending may read it."""
        if self._ending:
            return
        self._ending = True
        self._reading = None
        sending = self._phase in {HEAD, BODY}
        self._phase = CLOSING
        self._deadline = self.loop.time() + LINGER
        if sending and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()
