"""A client that sends prepared requests and notes when each answer came.

Closed loop: every connection sends its next request when it has an answer, which finds the most
that a service can do. Open loop: requests are due at times that do not depend on the answers, as
those of many independent users; the latency of each counts from when it was due, so that a service
that falls behind shows it (https://www.scylladb.com/2021/04/22/on-coordinated-omission/).
"""

import asyncio
import random
import selectors
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httptools

from .target import Query, Target

Result = TypeVar("Result")

MAX_WAIT = 10.0
"""Seconds that the client waits for an answer."""
_OK = 200


def run_client(client: Coroutine[Any, Any, Result]) -> Result:
    """Run a client to its end, in an event loop that can sleep for less than a millisecond."""

    def new_loop() -> asyncio.AbstractEventLoop:
        # epoll, which other loops use, waits for whole milliseconds.
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    async def run() -> Result:
        try:
            return await client
        finally:
            await asyncio.sleep(0)  # for the sockets of closed connections

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


@dataclass
class Measured:
    """What one run found. Times are in seconds.

    offered: requests due in each second; None in a closed loop. latencies: of the right answers.
    counts: answers by status; `failed` without an answer, `wrong` with another than expected.
    lags: how much later than due requests were sent for which a connection was free.
    cpu: the share of a processor that the client took.
    """

    offered: float | None
    latencies: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers in each second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


class Connection(asyncio.Protocol):
    """A connection that is kept alive, and has one request at a time."""

    def __init__(
        self, target: Target, on_free: Callable[["Connection"], None] = lambda _: None
    ) -> None:
        """on_free: called after each request that was asked."""
        self._target = target
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._end(ConnectionError("the service closed the connection"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close()
            self._end(error)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        answer = self._parser.get_status_code(), b"".join(self._body)
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    async def send(self, query: Query) -> tuple[int, bytes]:
        """Send a request; returns the status and the body of its answer.

        Raises OSError, TimeoutError or HttpParserError, and is closed then.
        """
        loop = asyncio.get_running_loop()
        if not self.is_open:
            context = ssl.create_default_context() if self._target.secure else None
            self._transport, _ = await loop.create_connection(
                lambda: self, self._target.host, self._target.port, ssl=context
            )
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._answer = loop.create_future()
        cast(asyncio.Transport, self._transport).write(query.request)
        try:
            return await self._answer
        finally:
            self._answer = None

    async def ask(self, query: Query, due: float, measured: Measured) -> None:
        """Send a request that was due at a time, count its answer, and be free again."""
        try:
            async with asyncio.timeout(MAX_WAIT):
                status, body = await self.send(query)
        except (OSError, TimeoutError, httptools.HttpParserError):
            self.close()
            measured.counts["failed"] += 1
        else:
            latency = time.perf_counter() - due
            if status != _OK:
                measured.counts[str(status)] += 1
            elif query.is_right(body):
                measured.latencies.append(latency)
                measured.counts[str(status)] += 1
            else:
                measured.counts["wrong"] += 1
        self._on_free(self)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _end(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


@dataclass(frozen=True)
class Load:
    """Who is asked what, over how many connections at most, for how many seconds."""

    target: Target
    queries: Sequence[Query]
    connections: int
    seconds: float


async def closed_loop(load: Load) -> Measured:
    """Let each connection send its next request when it has an answer."""
    measured = Measured(None)
    end = time.perf_counter() + load.seconds

    async def keep_asking(first: int) -> None:
        connection = Connection(load.target)
        number = first
        while (now := time.perf_counter()) < end:
            await connection.ask(load.queries[number % len(load.queries)], now, measured)
            number += 1
        connection.close()

    with _timed(measured):
        async with asyncio.TaskGroup() as tasks:
            for number in range(load.connections):
                tasks.create_task(keep_asking(number))
    return measured


async def open_loop(load: Load, rate: float, seed: int) -> Measured:
    """Send requests at random times, `rate` of them in each second on average.

    A request waits until one of the connections is free, and its latency counts from when it was
    due.
    """
    measured = Measured(rate)
    free: list[Connection] = []
    waiting: deque[tuple[Query, float]] = deque()
    running: set[asyncio.Task[None]] = set()
    opened: list[Connection] = []

    def start(connection: Connection, query: Query, due: float) -> None:
        task = asyncio.create_task(connection.ask(query, due, measured))
        running.add(task)
        task.add_done_callback(running.discard)

    def on_free(connection: Connection) -> None:
        if waiting:
            start(connection, *waiting.popleft())
        else:
            free.append(connection)

    with _timed(measured):
        begin = time.perf_counter()
        for number, offset in enumerate(_arrivals(rate, load.seconds, seed)):
            due = begin + offset
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            query = load.queries[number % len(load.queries)]
            if free or len(opened) < load.connections:
                if not free:
                    opened.append(Connection(load.target, on_free))
                    free.append(opened[-1])
                measured.lags.append(max(0.0, time.perf_counter() - due))
                start(free.pop(), query, due)
            else:
                waiting.append((query, due))
        while running:
            await asyncio.wait(set(running))
    for connection in opened:
        connection.close()
    return measured


def _arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """The times of a Poisson process, in seconds from its begin."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    now = generator.expovariate(rate)
    while now < seconds:
        yield now
        now += generator.expovariate(rate)


@contextmanager
def _timed(measured: Measured) -> Iterator[None]:
    """Note how long a run takes, and how much of a processor the client takes for it."""
    begin, cpu = time.perf_counter(), time.process_time()
    yield
    measured.seconds = time.perf_counter() - begin
    measured.cpu = (time.process_time() - cpu) / max(measured.seconds, 1e-9)
