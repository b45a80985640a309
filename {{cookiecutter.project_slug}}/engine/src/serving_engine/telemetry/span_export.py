"""Sends spans to a collector: OTLP over HTTP, in a thread of its own.

The queue is bounded. What does not fit, or is not delivered, is dropped and counted in
serving_traces_dropped_total: a collector that is down costs traces, never a request. The messages
are made here, with the classes of OpenTelemetry's protocol: its SDK takes six times as long, and
the thread shares the processor with the requests.
"""

import gzip as gzip_module
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import requests

from ..text import reason
from .trace_context import RequestSpan, new_span_id

MAX_QUEUED = 2048
"""Requests that wait to be sent; their spans take some 2 KiB each."""
BATCH = 64
"""Requests whose spans are sent together: encoding them takes some 1 ms, in which no other thread
of the process runs."""
TIMEOUT = 10.0
"""Seconds for the collector to answer."""
_MAX_ANSWER = 64 * 1024
_ACCEPTED = range(200, 300)
_NANOSECONDS = 1_000_000_000
_STATUS = "http.response.status_code"
_MODEL = "serving.model.version"
_SERVER_FAULT = 500
# Of opentelemetry/proto/trace/v1/trace.proto: SpanKind and StatusCode.
_KIND_INTERNAL, _KIND_SERVER = 1, 2
_STATUS_ERROR = 2

logger = logging.getLogger("traces")


class Collector:
    """What takes spans, at a URL. headers: of every request to it, such as a key."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, gzip: bool, certificates: str = ""
    ) -> None:
        self._url = url
        self._gzip = gzip
        self._session = requests.Session()
        self._session.verify = certificates or True
        self._session.headers.update({**headers, "Content-Type": "application/x-protobuf"})
        if gzip:
            self._session.headers["Content-Encoding"] = "gzip"

    def send(self, body: bytes, timeout: float) -> None:
        """Send a message. Raises an exception of the HTTP library if it is not accepted."""
        data = gzip_module.compress(body, 1) if self._gzip else body
        with self._session.post(
            self._url, data, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            response.raw.read(_MAX_ANSWER)
            if response.status_code not in _ACCEPTED:
                raise requests.HTTPError(f"the collector returned {response.status_code}")


class SpanExporter:
    """The queue of spans, and the thread that sends them.

    resource: what every span says about this process. delay: seconds between two messages.
    """

    def __init__(self, collector: Collector, resource: Mapping[str, str], delay: float) -> None:
        self._collector = collector
        self._resource = resource
        self._delay = delay
        self._queue: deque[tuple[RequestSpan, int]] = deque()
        """Requests, and when they ended: nanoseconds since 1970."""
        self._wakeup = threading.Event()
        self._deadline: float | None = None
        self._failing = False
        self._overflowed = 0
        self._undelivered = 0
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    @property
    def dropped(self) -> int:
        """The number of requests whose spans were dropped."""
        return self._overflowed + self._undelivered

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def put(self, span: RequestSpan) -> None:
        """Queue the spans of a request, or drop them if the queue is full. It does not wait."""
        if len(self._queue) >= MAX_QUEUED:
            self._overflowed += 1
            self._log_once("the queue is full")
            return
        self._queue.append((span, time.time_ns()))
        if len(self._queue) == BATCH:
            self._wakeup.set()

    def end(self, seconds: float) -> None:
        """Send what is queued, within `seconds`, then end the thread. It does not wait."""
        self._deadline = time.monotonic() + seconds
        self._wakeup.set()

    def _run(self) -> None:
        while True:
            self._wakeup.wait(self._delay)
            self._wakeup.clear()
            ending = self._deadline is not None
            while self._queue and self._remaining() > 0:
                self._deliver(list(self._next_batch()))
            if ending:
                return

    def _next_batch(self) -> Iterator[tuple[RequestSpan, int]]:
        for _ in range(min(BATCH, len(self._queue))):
            yield self._queue.popleft()

    def _remaining(self) -> float:
        return TIMEOUT if self._deadline is None else self._deadline - time.monotonic()

    def _deliver(self, batch: list[tuple[RequestSpan, int]]) -> None:
        try:
            body = encode(batch, self._resource)
            self._collector.send(body, min(TIMEOUT, max(self._remaining(), 0.1)))
        except Exception as error:  # whatever it is, it costs these traces and no more
            self._undelivered += len(batch)
            self._log_once(reason(error))
        else:
            if self._failing:
                logger.info("traces are delivered again")
            self._failing = False

    def _log_once(self, problem: str) -> None:
        """Log that traces are dropped: once, until some are delivered again."""
        if not self._failing:
            self._failing = True
            logger.warning(
                "traces are dropped, and counted in serving_traces_dropped_total: %s", problem
            )


def encode(batch: Iterable[tuple[RequestSpan, int]], resource: Mapping[str, str]) -> bytes:
    """The message with the spans of some requests.

    batch: each request, and when it ended in nanoseconds since 1970. The parts are made in place:
    messages that are made first and then put into others are copied, which takes twice as long.
    """
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415

    message = trace_service_pb2.ExportTraceServiceRequest()
    about = message.resource_spans.add()
    _add_attributes(about.resource, resource)
    scope = about.scope_spans.add()
    scope.scope.name = "serving_engine"
    for request, ended in batch:
        _add_spans(scope.spans, request, ended)
    return bytes(message.SerializeToString())


def _add_spans(spans: Any, request: RequestSpan, ended: int) -> None:
    """Add the span of a request, and its children."""
    trace = request.trace
    trace_id = bytes.fromhex(trace.trace_id)
    own_id = bytes.fromhex(trace.span_id)
    offset = ended - int((request.started + request.seconds) * _NANOSECONDS)

    def at(seconds: float) -> int:
        return int(seconds * _NANOSECONDS) + offset

    own = spans.add(
        trace_id=trace_id,
        span_id=own_id,
        parent_span_id=bytes.fromhex(trace.parent_id),
        trace_state=trace.state,
        name=request.name,
        kind=_KIND_SERVER,
        start_time_unix_nano=at(request.started),
        end_time_unix_nano=ended,
    )
    if int(request.attributes[_STATUS]) >= _SERVER_FAULT:
        own.status.code = _STATUS_ERROR
    _add_attributes(own, request.attributes)
    for name, start, end, values in _children(request):
        child = spans.add(
            trace_id=trace_id,
            span_id=bytes.fromhex(new_span_id()),
            parent_span_id=own_id,
            trace_state=trace.state,
            name=name,
            kind=_KIND_INTERNAL,
            start_time_unix_nano=at(start),
            end_time_unix_nano=at(end),
        )
        _add_attributes(child, values)


def _add_attributes(message: Any, values: Mapping[str, str | int]) -> None:
    """Add attributes to a message that has some: a span, or the resource."""
    for key, value in values.items():
        added = message.attributes.add(key=key).value
        if isinstance(value, int):
            added.int_value = value
        else:
            added.string_value = value


def _children(
    request: RequestSpan,
) -> Iterator[tuple[str, float, float, Mapping[str, str | int]]]:
    """Name, start, end and attributes of each child span of a request.

    parse: until its first rows are queued, so that it includes receiving the body.
    """
    calls = request.trace.calls
    if calls:
        yield "parse", request.started, calls[0].queued, {}
    for call in calls:
        yield "queue", call.queued, call.started, {}
        if call.batch_rows:
            yield (
                "predict",
                call.started,
                call.started + call.seconds,
                {
                    "serving.batch.rows": call.batch_rows,
                    _MODEL: request.attributes[_MODEL],
                },
            )
