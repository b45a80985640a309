"""One client's connection: uvicorn's HTTP/1.1 protocol with limits on size and time.

An invalid request is rejected here with 400, 408, 414 or 431, and its connection is closed.
httptools reports a header when it is complete, so bytes are counted as they arrive. Timeouts are
checked for all connections in turn (`check_timeout`) instead of by a timer for each request.
The tables in `phase.py` show the states of a connection.
"""

import asyncio
import math
from collections import deque
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..asgi import Header, Scope
from ..errors import HeaderTimeout, MalformedRequest, RequestError
from ..telemetry.metrics import Metrics
from . import request_head
from .cycle import RequestResponseCycle
from .limits import LINGER, ConnectionLimits
from .phase import BODY, CLOSING, HEAD, IDLE


class Connection(HttpToolsProtocol):
    """Reads requests, runs the application for each in turn, and enforces the limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        metrics: Metrics,
        format_error: request_head.FormatError,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._metrics = metrics
        self._format_error = format_error
        self._phase = IDLE
        self._deadline = self.loop.time() + limits.header_timeout
        self._ending = False
        self._head_bytes = 0
        self._all_head = True
        """Whether the data that arrived last is part of one incomplete head."""
        self._responding: RequestResponseCycle | None = None
        self._receiving: RequestResponseCycle | None = None
        """The request whose body is being read."""
        self._pipelined: deque[RequestResponseCycle] = deque()
        """Requests that arrived before the response to the previous one."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client disconnected: cancel the predictions for it."""
        self._phase = CLOSING
        self._ending = True
        self._pipelined.clear()
        for cycle in (self._responding, self._receiving):
            if cycle is not None and not cycle.complete:
                cycle.disconnect()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after the response that is due."""
        if self._responding is not None:
            self._responding.keep_alive = False
        else:
            self._close()

    def check_timeout(self, now: float) -> None:
        """Close the connection if its deadline has passed."""
        if now < self._deadline:
            return
        if self._phase is HEAD:
            self._reject(HeaderTimeout.after(self.limits.header_timeout))
        elif self._phase is CLOSING or self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read its response
        else:
            self._close()

    def pause_writing(self) -> None:
        """The client does not read its response: start a timeout, as long as for a body."""
        super().pause_writing()
        self._deadline = self.loop.time() + self.limits.body_timeout

    def resume_writing(self) -> None:
        """The client reads its response again."""
        super().resume_writing()
        if self._responding is not None:
            self._deadline = math.inf

    def default_headers(self) -> list[Header]:
        """The headers of every response; `Connection: close` among them while draining."""
        return self.server_state.default_headers

    def data_received(self, data: bytes) -> None:
        """Parse data that arrived."""
        if self._phase is CLOSING:
            return
        self._all_head = self._phase is not BODY
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__  # raised by a method below, which the parser called
            malformed = MalformedRequest("The request is not HTTP/1.1.")
            self._reject(cause if isinstance(cause, RequestError) else malformed)
        if self._phase is HEAD and self._all_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._reject(request_head.too_large_head(self.url, self.headers, self.limits))

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        super().on_message_begin()
        if self._phase is CLOSING:
            return
        self._phase = HEAD
        self._head_bytes = 0
        self._deadline = self.loop.time() + self.limits.header_timeout

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field is complete."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start the request, or queue it until the response to the previous one is complete.

        An exception raised here leaves `feed_data` as the context of a parser error.
        """
        if self.parser.should_upgrade() or self._phase is CLOSING:
            return
        version = self.parser.get_http_version()
        request_head.check_head(self.url, self.headers, version, self.limits)
        scope: Scope = self.scope  # type: ignore[assignment]
        request_head.fill_scope(scope, self.parser.get_method(), self.url, version)
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self._phase = BODY
        self._all_head = False
        self._deadline = math.inf
        self._receiving = cycle = RequestResponseCycle(self, scope, keep_alive)
        if self._responding is None:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self._pipelined.append(cycle)

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived. After the response is complete, it is discarded."""
        if self._receiving is not None and not self._receiving.complete:
            self._receiving.feed_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        cycle = self._receiving
        if cycle is None:
            return
        self._receiving = None
        self._phase = IDLE
        cycle.end_body()
        if cycle.complete and self._responding is None:
            self._await_next()

    def on_cycle_complete(self, cycle: RequestResponseCycle) -> None:
        """Read the next request, or close."""
        self._responding = None
        if not cycle.keep_alive:
            self._close()
        elif not self.transport.is_closing():
            self.flow.resume_reading()
            if self._pipelined:
                self._start(self._pipelined.popleft())
            elif self._phase is not HEAD:
                self._await_next()

    def fail(self, cycle: RequestResponseCycle, error: RequestError) -> None:
        """The application sent no complete response: close, so that the client does not wait."""
        cycle.disconnect()
        if cycle.nothing_sent and not self.transport.is_closing():
            self._write_final(error, cycle.scope["path"])
        self._close()

    def _start(self, cycle: RequestResponseCycle) -> None:
        self._responding = cycle
        cycle.task = task = self.loop.create_task(cycle.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _await_next(self) -> None:
        """Start the timeout for the next request, or for the rest of a body that is not used."""
        seconds = self.limits.keep_alive if self._phase is IDLE else self.limits.body_timeout
        self._deadline = self.loop.time() + seconds

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse again without the offer: httptools does not read the body of such a request."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._reject(MalformedRequest("CONNECT is not supported."))
            return
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(request_head.without_upgrade(method, self.url, self.headers) + rest)

    def _reject(self, error: RequestError) -> None:
        """Reject an invalid request as in the table of `phase.py`: respond with an error, close."""
        self._metrics.refused(error.kind)
        cycle = self._receiving
        self._receiving = None
        self._pipelined.clear()
        if cycle is not None and not cycle.complete and cycle is self._responding:
            cycle.disconnect()
            self._responding = None
            if not cycle.nothing_sent:
                self._close()
                return
        elif self._responding is not None:
            self._responding.keep_alive = False
            self._phase = CLOSING
            self._deadline = math.inf
            return
        elif cycle is not None:  # its response is complete
            self._close()
            return
        self._write_final(error, request_head.requested_path(self.url))
        self._close()

    def _write_final(self, error: RequestError, path: str) -> None:
        response = self._format_error(error, path)
        self.transport.write(request_head.final_response(response, self.default_headers()))

    def _close(self) -> None:
        """Close after everything was written; a client that is still sending has time to read."""
        if self._ending:
            return
        self._ending = True
        self._receiving = None
        sending = self._phase is HEAD or self._phase is BODY
        self._phase = CLOSING
        self._deadline = self.loop.time() + LINGER
        if sending and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()
