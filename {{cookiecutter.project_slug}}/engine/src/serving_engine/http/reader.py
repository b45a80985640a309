"""The parsing half of a connection: bytes in, bounded and counted; calls of the parser out.

httptools reports a header when it is complete, and it reports no chunk extension, so bytes are
counted as they arrive. It cannot be paused either. So data that may hold many requests is parsed in
pieces, and what follows the last request that may wait is kept as bytes.

What a connection holds is added to `metrics.buffered_bytes`, which all connections of the process
share: the bytes received until the response, and responses that wait for the client to read them.
"""

import asyncio
import math
from abc import abstractmethod
from collections import deque
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..asgi import Header
from ..errors import HeadersTooLarge, MalformedRequest, OutOfMemory, RequestError
from ..telemetry.metrics import Metrics
from . import request_head
from .cycle import RequestResponseCycle
from .limits import CHUNK_LINE, MAX_PIPELINED, PIECE, REQUEST_BYTES, WRITE_BUFFER, ConnectionLimits
from .phase import BODY, CLOSING, HEAD, IDLE


class Reader(HttpToolsProtocol):
    """Feeds the parser no more than may wait, and counts what is held."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
        *,
        limits: ConnectionLimits,
        metrics: Metrics,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self.limits = limits
        self._metrics = metrics
        self._phase = IDLE
        self._held = 0
        """The share of this connection in `metrics.buffered_bytes`, without unread responses."""
        self._unread_response = 0
        self.waiting_since = self.loop.time()
        """When the client began to send its request, or ceased to read its response."""
        self._deadline = self.waiting_since + limits.header_timeout
        self._write_deadline = math.inf
        self._unparsed = b""
        """What follows the last request that may wait."""
        self._head_bytes = 0
        self._all_head = True
        """Whether the data that was parsed last is part of one incomplete head."""
        self._framing = 0
        """Bytes of chunk extensions and trailers in the data that is part of one body."""
        self._responding: RequestResponseCycle | None = None
        self._receiving: RequestResponseCycle | None = None
        """The request whose body is being read."""
        self._pipelined: deque[RequestResponseCycle] = deque()
        """Requests that arrived before the response to the previous one."""

    @abstractmethod
    def _reject(self, error: RequestError) -> None:
        """Respond with an error after the responses that are due, and close."""

    @abstractmethod
    def _make_room(self) -> None:
        """Close slow connections, as all of them hold more than they may."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Parse data that arrived."""
        if self._phase is CLOSING:
            return
        size = len(data)
        receiving = self._receiving
        metrics = self._metrics
        if receiving is None or not receiving.complete:  # else the data is discarded
            self._held += size
            metrics.buffered_bytes += size
        try:
            if size > PIECE or self._unparsed:
                self._unparsed += data
                self._parse_in_pieces()
            else:
                self._parse(data)
        except MemoryError:
            self._reject(OutOfMemory.retry())
        if self._phase is not IDLE and metrics.buffered_bytes > self.limits.buffered_bytes:
            self._make_room()

    def pause_writing(self) -> None:
        """The client does not read its response: start a timeout, as long as for a body."""
        super().pause_writing()
        self.waiting_since = self.loop.time()
        self._write_deadline = self.waiting_since + self.limits.body_timeout
        self._unread_response = self.transport.get_write_buffer_size()
        self._metrics.buffered_bytes += self._unread_response
        if self._phase is not CLOSING and not self._may_parse():
            self.flow.pause_reading()
        if self._metrics.buffered_bytes > self.limits.buffered_bytes:
            self.loop.call_soon(self._make_room)  # the response is being written

    def resume_writing(self) -> None:
        """The client reads its response again."""
        super().resume_writing()
        self._metrics.buffered_bytes -= self._unread_response
        self._unread_response = 0
        self._write_deadline = math.inf
        self._read_on()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field is complete."""
        self.headers.append((name.lower(), value))

    def on_chunk_header(self) -> None:
        """A chunk begins. The header fields that follow are trailers: they are not headers."""
        self._framing -= CHUNK_LINE
        if type(self.headers) is not Trailers:
            self.headers = Trailers(self.limits)

    def _parse_in_pieces(self) -> None:
        """Parse what was not parsed, until as many requests wait as may wait."""
        data, self._unparsed = self._unparsed, b""
        view = memoryview(data)
        while view and self._phase is not CLOSING:
            if not self._may_parse():
                self._unparsed = bytes(view)
                self.flow.pause_reading()
                return
            size = self._next_piece()
            piece, view = view[:size], view[size:]
            self._parse(piece)

    def _may_parse(self) -> bool:
        if self._receiving is not None and self._receiving is self._responding:
            return True
        return len(self._pipelined) < MAX_PIPELINED and not self.flow.write_paused

    def _next_piece(self) -> int:
        """The number of bytes in which only a few requests can begin."""
        cycle = self._receiving
        if cycle is not None and not cycle.complete:
            for name, value in self.headers:
                if name == b"content-length":
                    return max(PIECE, int(value) - cycle.received)
        return PIECE

    def _parse(self, data: bytes | memoryview) -> None:
        receiving = self._receiving
        self._all_head = self._phase is not BODY
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            cause = error.__context__  # raised by a method of the connection
            if isinstance(cause, MemoryError):
                cause = OutOfMemory.retry()
            malformed = MalformedRequest("The request is not HTTP/1.1.")
            self._reject(cause if isinstance(cause, RequestError) else malformed)
        if self._phase is HEAD and self._all_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._reject(request_head.too_large_head(self.url, self.headers, self.limits))
        elif self._phase is BODY:
            same = receiving is not None and receiving is self._receiving
            self._framing = self._framing + len(data) if same else 0
            if self._framing > self.limits.header_bytes:
                self._reject(_too_large_framing(self.limits))

    def _read_on(self) -> None:
        """Parse what was kept and read again, unless requests or responses still wait."""
        if self._phase is CLOSING or not self._may_parse():
            return
        if self._unparsed:
            self._parse_in_pieces()
        if not (self._unparsed or self._pipelined):
            if self._phase is HEAD and self.flow.read_paused:
                self._deadline = self.loop.time() + self.limits.header_timeout
            self.flow.resume_reading()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse again without the offer: httptools does not read the body of such a request."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._reject(MalformedRequest("CONNECT is not supported."))
            return
        self.parser = httptools.HttpRequestParser(self)
        self._parse(request_head.without_upgrade(method, self.url, self.headers) + rest)

    def _release(self) -> None:
        """Count what is still held, of all that has arrived."""
        held = len(self._unparsed)
        if self._phase is HEAD:
            held += self._head_bytes
        responding = () if self._responding is None else (self._responding,)
        for cycle in (*responding, *self._pipelined):
            held += REQUEST_BYTES + cycle.received
        self._metrics.buffered_bytes += held - self._held
        self._held = held

    def held_for_client(self) -> int:
        """The bytes that are held because the client is slow to send or to read."""
        sending = self._receiving is not None or self._phase is HEAD
        return self._held + self._unread_response if sending or self.flow.write_paused else 0

    def _forget(self) -> None:
        """Drop what waits."""
        self._pipelined.clear()
        self._unparsed = b""
        self._metrics.buffered_bytes -= self._held
        self._held = 0


class Trailers(list[Header]):
    """Takes the place of the list of headers after a chunked request's head; it stays empty."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self._limits = limits
        self._bytes = 0
        self._fields = 0

    def append(self, field: Header) -> None:
        """Count a trailer field. Raises HeadersTooLarge."""
        self._fields += 1
        self._bytes += len(field[0]) + len(field[1])
        too_many = self._fields > self._limits.header_fields
        if too_many or self._bytes > self._limits.header_bytes:
            raise _too_large_framing(self._limits)


def _too_large_framing(limits: ConnectionLimits) -> RequestError:
    return HeadersTooLarge(
        "The trailers or chunk extensions of the body have more than "
        f"{limits.header_fields} fields or {limits.header_bytes} bytes."
    )
