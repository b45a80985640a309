"""One client's connection: uvicorn's HTTP/1.1 protocol with limits on size and time.

An invalid request is rejected here with 400, 408, 414, 431 or 503, and its connection is closed.
Timeouts are checked for all connections in turn (`check_timeout`) instead of by a timer for each
request. The tables in `phase.py` show the states of a connection.
"""

import asyncio
import math
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from ..asgi import Header, Scope
from ..errors import BuffersFull, HeaderTimeout, RequestError
from ..telemetry.metrics import Metrics
from . import request_head
from .cycle import RequestResponseCycle
from .limits import FIRST_REQUEST, LINGER, REQUEST_BYTES, ConnectionLimits
from .overload import close_slowest
from .phase import BODY, CLOSING, HEAD, IDLE
from .reader import Reader

_BODILESS = {b"GET", b"HEAD"}


class Connection(Reader):
    """Runs the application for each request in turn, and enforces the limits."""

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
        super().__init__(config, server_state, app_state, _loop, limits=limits, metrics=metrics)
        self._format_error = format_error
        self._deadline = self.waiting_since + limits.header_timeout
        self._ending = False
        self._used = False
        """Whether a request has arrived."""
        self._draining = False
        self._rejection: tuple[RequestError, str] | None = None
        """The error that follows the responses that are due, and the path of its request."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client disconnected: cancel the predictions for it."""
        self._phase = CLOSING
        self._ending = True
        for cycle in (self._responding, self._receiving):
            if cycle is not None and not cycle.complete:
                cycle.disconnect()
        super().connection_lost(exc)
        self._forget()
        self._metrics.buffered_bytes -= self._unread_response
        self._unread_response = 0

    def shutdown(self) -> None:
        """Close the connection after the response that is due.

        A request that has begun, or the first one of a connection that was just accepted, may be on
        its way: its client would get a reset instead of a response.
        """
        self._draining = True
        if self._responding is not None:
            self._responding.keep_alive = False
        elif self._phase is IDLE and not self._used:
            self._deadline = min(self._deadline, self.loop.time() + FIRST_REQUEST)
        elif self._phase is not HEAD:
            self._close()

    def check_timeout(self, now: float) -> None:
        """Close the connection if its deadline has passed."""
        if now < self._deadline and now < self._write_deadline:
            return
        unread = now >= self._write_deadline or self.transport.get_write_buffer_size()
        if self._phase is CLOSING or unread:
            self.transport.abort()  # the client does not read its response
        elif self._phase is HEAD and self.flow.read_paused:
            pass  # this side does not read
        elif self._phase is HEAD:
            self._reject(HeaderTimeout.after(self.limits.header_timeout))
        else:
            self._close()

    def default_headers(self) -> list[Header]:
        """The headers of every response; `Connection: close` among them while draining."""
        return self.server_state.default_headers

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        super().on_message_begin()
        if self._phase is CLOSING:
            return
        self._phase = HEAD
        self._head_bytes = 0
        self.waiting_since = now = self.loop.time()
        self._deadline = now + self.limits.header_timeout

    def on_headers_complete(self) -> None:
        """Start the request, or queue it until the response to the previous one is complete.

        An exception raised here leaves `feed_data` as the context of a parser error.
        """
        if self.parser.should_upgrade() or self._phase is CLOSING:
            return
        version = self.parser.get_http_version()
        request_head.check_head(self.url, self.headers, version, self.limits)
        scope: Scope = self.scope  # type: ignore[assignment]
        method = self.parser.get_method()
        request_head.fill_scope(scope, method, self.url, version)
        if self._metrics.buffered_bytes > self.limits.buffered_bytes and method not in _BODILESS:
            raise BuffersFull.retry()
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self._draining
        self._used = True
        self._phase = BODY
        self._all_head = False
        self._deadline = math.inf
        self._receiving = cycle = RequestResponseCycle(self, scope, keep_alive)
        if self._responding is None:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self._pipelined.append(cycle)
            self._held += REQUEST_BYTES
            self._metrics.buffered_bytes += REQUEST_BYTES

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived. After the response is complete, it is discarded."""
        self._framing -= len(body)
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
        elif self._pipelined or self._unparsed or self._phase is not IDLE or self.flow.write_paused:
            self._continue()
        elif not self.transport.is_closing():
            self._metrics.buffered_bytes -= self._held
            self._held = 0
            self.flow.resume_reading()
            self._await_next()

    def _continue(self) -> None:
        """Go on with what has arrived, or is due, besides the response that is complete."""
        self._release()
        if self.transport.is_closing():
            return
        if self._pipelined:
            self._start(self._pipelined.popleft())
        elif self._rejection is not None:
            self._write_final(*self._rejection)
            self._close()
        elif self._phase is not HEAD:
            self._await_next()
        self._read_on()

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

    def _make_room(self) -> None:
        connections: Any = self.server_state.connections
        close_slowest(connections, self._metrics, self.limits.buffered_bytes, now=self.loop.time())

    def give_up(self) -> None:
        """Reject the request that is being received, or abort a response that is not read."""
        if self.flow.write_paused:
            self._forget()
            self.transport.abort()
        else:
            self._reject(BuffersFull.retry())

    def _reject(self, error: RequestError) -> None:
        """Reject an invalid request as in the table of `phase.py`: respond with an error, close."""
        self._metrics.refused(error.kind)
        cycle = self._receiving
        self._receiving = None
        self._unparsed = b""
        if cycle is not None and cycle is self._responding:
            cycle.disconnect()
            self._responding = None
            if not cycle.nothing_sent:
                self._close()
                return
        elif self._responding is not None:
            if cycle is not None:
                self._pipelined.remove(cycle)
            self._rejection = error, request_head.requested_path(self.url)
            self._phase = CLOSING
            self._deadline = math.inf
            self._release()
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
        sending = self._phase is HEAD or self._phase is BODY or self._rejection is not None
        self._phase = CLOSING
        self._deadline = self.loop.time() + LINGER
        self._forget()
        if sending and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()
