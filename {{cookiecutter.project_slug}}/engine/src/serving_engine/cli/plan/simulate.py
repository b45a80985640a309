"""A worker under load, simulated: the rules of the batcher, with the times that were measured.

Requests arrive at random times, as from many independent users. One core does everything in turn:
the event loop reads and answers requests, the model predicts batches. Where the model has a thread,
the event loop interrupts it, and shares the core with it when it has much to do.
`tests/test_plan.py` holds the rules to those of `inference/batcher.py`: the same arrivals make the
same batches.
"""

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...inference.batcher import QueueLimits
from ..bench.report import percentile

REFUSED, LATE = -1.0, -2.0
"""Outcomes of a request that got no prediction: 503, and 504."""
_TRANSIENT = 0.25
"""The share of the requests that are not counted: the queue is empty when the first ones arrive."""

_MOST_CREDIT = 0.005
"""Seconds that the event loop may take before a thread at work gets its turn: Python's switch
interval, and about as long as a slice of Linux's scheduler."""


@dataclass(frozen=True)
class Worker:
    """One worker on one core. Times are in seconds.

    turn: each time the event loop wakes up. request: to read, check and answer a request. refusal:
    to read and refuse one. batches: calls of the model, as ascending rows and seconds. spread: how
    long a call took, relative to the median. around: what a client on the same machine adds.
    inline: whether the event loop calls the model. timeout: of a request. connections: most
    requests that clients have open at once; others are refused before they reach the worker. hold:
    how long a call in a thread keeps the event loop from reading, as it has the interpreter's lock.
    """

    turn: float
    request: float
    refusal: float
    batches: tuple[tuple[int, float], ...]
    inline: bool
    limits: QueueLimits
    timeout: float
    connections: int
    threads: int = 1
    hold: float = 0.0
    spread: tuple[float, ...] = (1.0,)
    around: tuple[float, ...] = (0.0,)

    def call(self, rows: int) -> float:
        """The seconds of a call of the model."""
        sizes, seconds = zip(*self.batches, strict=True)
        return float(np.interp(rows, sizes, seconds))

    def largest_batch(self, rows: int) -> int:
        """The most requests that share a call, if each has `rows` rows."""
        return max(1, min(self.limits.batch_rows // rows, self.limits.queued_requests))

    def capacity(self, rows: int) -> float:
        """The requests per second that keep the core busy, if each has `rows` rows."""
        count = self.largest_batch(rows)
        return count / (self.turn + count * self.request + self.call(count * rows))


@dataclass(frozen=True)
class Simulated:
    """What became of the requests that one worker was asked.

    outcomes: the latency of each in seconds, or REFUSED or LATE. batches: requests in each call.
    rate: requests per second that were asked. busy: the share of the time that the core had work.
    """

    outcomes: Sequence[float]
    batches: Sequence[int]
    rate: float
    busy: float

    @property
    def latencies(self) -> list[float]:
        """Those of the predictions, sorted."""
        return sorted(outcome for outcome in self.outcomes if outcome >= 0)

    def latency(self, share: float) -> float:
        """The latency that a share of the predictions does not exceed; infinite without any."""
        latencies = self.latencies
        return percentile(latencies, share) if latencies else float("inf")

    def share(self, outcome: float) -> float:
        """The share of the requests with an outcome: REFUSED or LATE."""
        return self.outcomes.count(outcome) / len(self.outcomes)


def simulate(worker: Worker, rate: float, rows: int, requests: int, seed: int = 0) -> Simulated:
    """Ask one worker for predictions at random times.

    rate: requests per second. rows: of each request. requests: how many are simulated.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, requests)
    arrivals: list[float] = np.cumsum(gaps).tolist()
    core = _Core(worker, arrivals, rows, random.Random(seed))  # noqa: S311 - no secret
    core.run()
    counted = core.outcomes[int(_TRANSIENT * requests) :]
    return Simulated(counted, core.batches, rate, core.busy / core.now)


def replay(worker: Worker, arrivals: Sequence[float], rows: int = 1) -> Simulated:
    """Ask one worker for predictions at these ascending times, and count every request."""
    core = _Core(worker, arrivals, rows, random.Random(0))  # noqa: S311 - no secret
    core.run()
    return Simulated(core.outcomes, core.batches, len(arrivals) / core.now, core.busy / core.now)


class _Call:
    """A call of the model in a thread: the requests of its batch, and the seconds that are left."""

    __slots__ = ("batch", "left")

    def __init__(self, batch: list[tuple[int, float]], left: float) -> None:
        self.batch = batch
        self.left = left


class _Core:
    """One core as time goes by. A request is its number and the time when it was queued."""

    def __init__(
        self, worker: Worker, arrivals: Sequence[float], rows: int, generator: random.Random
    ) -> None:
        self.now = 0.0
        self.busy = 0.0
        self.outcomes = [REFUSED] * len(arrivals)
        self.batches: list[int] = []
        self._worker = worker
        self._arrivals = arrivals
        self._rows = rows
        self._random = generator.random
        self._most = max(1, worker.limits.batch_rows // rows)
        self._call_seconds = [worker.call(count * rows) for count in range(self._most + 1)]
        # A call in a thread wakes the event loop twice: for the request, and when it is done.
        self._turn = worker.turn if worker.inline else worker.turn / 2
        self._half = worker.request / 2
        self._next = 0
        self._open = 0
        self._credit = 0.0
        self._queue: deque[tuple[int, float]] = deque()
        self._calls: list[_Call] = []

    def run(self) -> None:
        """Serve all requests."""
        total = len(self._arrivals)
        while True:
            done = next((call for call in self._calls if call.left <= 0), None)
            if done is not None:
                self._finish(done)
            elif self._next < total and self._arrivals[self._next] <= self.now:
                self._read()
            elif self._calls:
                self._predict()
            elif self._next < total:
                self.now = self._arrivals[self._next]
            else:
                return

    def _work(self, seconds: float) -> None:
        """Let the event loop work.

        It interrupts a call, until it has used its credit. Then both get half of the core.
        """
        alone = min(seconds, self._credit) if self._calls else seconds
        shared = seconds - alone
        self._credit -= min(alone, self._credit)
        called = 0.0
        for call in self._calls:
            part = min(call.left, shared / len(self._calls))
            call.left -= part
            called += part
        self.now += seconds + called
        self.busy += seconds + called

    def _read(self) -> None:
        """Read the requests that have arrived, as one turn of the event loop does."""
        stop = bisect_right(self._arrivals, self.now, self._next)
        self._work(self._turn)
        room = max(0, self._worker.connections - self._open)
        for number in range(self._next, min(stop, self._next + room)):
            if self._is_full():
                self._work(self._worker.refusal)
            else:
                self._work(self._half)
                self._queue.append((number, self.now))
                self._open += 1
        self._next = stop
        self._dispatch()

    def _is_full(self) -> bool:
        self._expire()
        limits = self._worker.limits
        waiting = len(self._queue)
        too_many_rows = waiting and (waiting + 1) * self._rows > limits.queued_rows
        return bool(too_many_rows) or waiting >= limits.queued_requests

    def _expire(self) -> None:
        """Give up the requests that have waited for too long: the first ones of the queue."""
        earliest = self.now - self._worker.timeout
        while self._queue and self._queue[0][1] <= earliest:
            self._end(self._queue.popleft()[0], LATE)

    def _dispatch(self) -> None:
        """Start the next batch in every free thread, or predict all in the event loop."""
        done = []
        while len(self._calls) < self._worker.threads and self._queue:
            self._expire()
            batch = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
            if not batch:
                break
            self.batches.append(len(batch))
            spread = self._worker.spread
            seconds = self._call_seconds[len(batch)] * spread[int(self._random() * len(spread))]
            if self._worker.inline:
                self._work(seconds)
                done.append(batch)
            else:
                self._calls.append(_Call(batch, seconds))
        for batch in done:
            self._answer(batch, earliest=float("-inf"))

    def _predict(self) -> None:
        """Let the threads predict until a call is done, or the event loop can read a request."""
        share = len(self._calls)
        first = min(self._calls, key=lambda call: call.left)
        arrival = float("inf")
        if self._next < len(self._arrivals):
            arrival = self._arrivals[self._next] + self._worker.hold
        until = min(self.now + first.left * share, arrival)
        passed = until - self.now
        for call in self._calls:
            call.left -= passed / share
        self.now = until
        self.busy += passed
        self._credit = min(_MOST_CREDIT, self._credit + passed)
        if until < arrival:
            first.left = 0.0

    def _finish(self, call: _Call) -> None:
        """Start the thread's next batch, then answer the requests of this one."""
        self._calls.remove(call)
        earliest = self.now - self._worker.timeout
        self._work(self._turn)
        self._dispatch()
        self._answer(call.batch, earliest)

    def _answer(self, batch: list[tuple[int, float]], earliest: float) -> None:
        """Answer the requests of a batch, but those that were queued before and are late."""
        around = self._worker.around
        for number, queued in batch:
            self._work(self._half)
            if queued <= earliest:
                self._end(number, LATE)
            else:
                more = around[int(self._random() * len(around))]
                self._end(number, self.now - self._arrivals[number] + more)

    def _end(self, number: int, outcome: float) -> None:
        self.outcomes[number] = outcome
        self._open -= 1
