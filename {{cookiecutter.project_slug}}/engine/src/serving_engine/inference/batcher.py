"""Natural batching: requests that wait while the model is busy share its next call.

There is no timer. Requests that arrive in one turn of the event loop are predicted in the next; the
busier the model, the larger the batches, up to a number of rows. The queue is bounded: when it is
full, a request is rejected at once instead of served late. All state belongs to the event loop; a
thread only sees its batch. A model that takes less time than handing a batch to a thread and back
is called in the event loop itself, if no input can make it slow.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import DeadlineExceeded, NonFiniteOutput, QueueFull, as_exception, retry_after
from ..runtimes.base import Predict
from ..schema.predictions import Outputs
from ..schema.request_parser import Rows, Values, joined
from ..telemetry.metrics import Metrics
from ..telemetry.trace_context import Call, Trace
from .prediction_threads import PredictionThreads

Outcome = Outputs | Exception
Observe = Callable[[Values, Outputs], None]

NOT_FINITE = "The model's output for this input is not a finite number."
TOO_SLOW = 10
"""A call in the event loop is slow if it takes over 10 times `inline_seconds`."""
SLOW_CALLS = 2
FORGIVEN_BY = 10
"""10 quick calls make up for a slow one. With more than 2 slow ones left, inline prediction is
switched off. A single one is no evidence: the machine may have run something else meanwhile."""
PIECE = 16
"""A large request is predicted in pieces of 16 full batches. With smaller pieces, a forest takes
three times as long as in one call; in one call, memory has no bound."""

logger = logging.getLogger("model")


@dataclass(frozen=True)
class QueueLimits:
    """The limits of a batch and of the queue.

    batch_rows: most rows in one call; a larger request has a batch of its own.
    queued_rows, queued_requests: most rows and requests that wait for a thread.
    split: whether a larger request is predicted in pieces; false where predictions depend on the
    other rows.
    """

    batch_rows: int
    queued_rows: int
    queued_requests: int
    split: bool = True


class BatchResult(NamedTuple):
    """The outcome for each request of a batch; when the call started and how long it took, in
    seconds of `time.perf_counter`."""

    outcomes: list[Outcome]
    started: float
    seconds: float


class Job:
    """One request: its rows, the future that its caller awaits, its times on the loop's clock.

    trace: of the request, if it is recorded. queued: when it arrived, on a finer clock.
    """

    __slots__ = ("arrived", "deadline", "outputs", "queued", "rows", "timer", "trace")

    def __init__(
        self,
        rows: Rows,
        outputs: "asyncio.Future[Outputs]",
        arrived: float,
        deadline: float,
        trace: Trace | None,
    ) -> None:
        self.rows = rows
        self.outputs = outputs
        self.arrived = arrived
        self.deadline = deadline
        self.timer: asyncio.TimerHandle | None = None
        self.trace = trace
        self.queued = 0.0 if trace is None else time.perf_counter()


class Batcher:
    """Predicts the rows of many callers in few threads; every caller gets its own outputs."""

    def __init__(
        self, predict: Predict, threads: PredictionThreads, limits: QueueLimits, metrics: Metrics
    ) -> None:
        self._predict = predict
        self._threads = threads
        self._free = threads.count
        self._limits = limits
        self._metrics = metrics
        self._queue: deque[Job] = deque()
        self._queued_rows = 0
        self._dispatching = False
        self._observe: Observe | None = None
        self.inline_seconds = 0.0
        """A call that takes at most this long may run in the event loop; 0: all run in threads."""
        self._to_forgive = 0
        """Quick calls that would make up for the slow ones so far."""

    def record_in(self, metrics: Metrics, observe: Observe | None) -> None:
        """Count in these metrics from now on.

        observe: called with the rows and outputs of every call that succeeds, in its thread. It
        must not raise.
        """
        self._metrics = metrics
        self._observe = observe

    async def predict(self, rows: Rows, timeout: float, trace: Trace | None = None) -> Outputs:
        """Predict the rows of one request.

        timeout: seconds for waiting and computing. trace: takes the times, if they are recorded.
        Raises QueueFull, DeadlineExceeded, or the model's exception for these rows.
        """
        loop = asyncio.get_running_loop()
        self._admit(len(rows))
        now = loop.time()
        job = Job(rows, loop.create_future(), now, now + timeout, trace)
        self._queue.append(job)
        self._queued_rows += len(rows)
        self._metrics.queued_rows = self._queued_rows
        if self._free and not self._dispatching:
            self._dispatching = True
            loop.call_soon(self._dispatch, loop)
        if not (self.inline_seconds and self._free):
            self._start_timer(job, loop)
        try:
            return await job.outputs
        except asyncio.CancelledError:
            self._metrics.cancelled += 1
            self._leave_queue(job)
            raise
        finally:
            if job.timer is not None:
                job.timer.cancel()

    def _start_timer(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Enforce the deadline. A call in the event loop needs no timer: no timer could fire."""
        if job.timer is None:
            job.timer = loop.call_at(job.deadline, self._on_deadline, job)

    def _on_deadline(self, job: Job) -> None:
        self._leave_queue(job)
        self._expire(job)

    def _leave_queue(self, job: Job) -> None:
        """Make room for others at once, and free the rows, if the request still waits."""
        try:
            self._queue.remove(job)
        except ValueError:
            return
        self._queued_rows -= len(job.rows)
        self._metrics.queued_rows = self._queued_rows

    def _admit(self, rows: int) -> None:
        waiting = self._queued_rows
        # A request larger than the whole queue is still served by an idle service.
        too_many_rows = waiting and waiting + rows > self._limits.queued_rows
        if too_many_rows or len(self._queue) >= self._limits.queued_requests:
            self._metrics.refused("queue-full")
            raise QueueFull("Too many requests are waiting.", headers=retry_after())

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next batch in every free thread, or predict it in the event loop."""
        self._dispatching = False
        inline = self.inline_seconds > 0
        while self._free and self._queue:
            batch = self._next_batch(loop.time())
            if not batch:
                continue
            rows = sum(len(job.rows) for job in batch)
            if self.inline_seconds and rows <= self._limits.batch_rows:
                self._run_inline(batch, rows)
            else:
                self._free -= 1
                self._threads.run(self._run_batch, batch, loop, self._on_thread_done)
                if inline:
                    for job in batch:
                        self._start_timer(job, loop)
        if inline:
            for job in self._queue:
                self._start_timer(job, loop)
        self._metrics.queued_rows = self._queued_rows

    def _run_inline(self, batch: list[Job], rows: int) -> None:
        outcomes, started, seconds = self._run_batch(batch)
        if seconds > TOO_SLOW * self.inline_seconds:
            self._to_forgive += FORGIVEN_BY
            if self._to_forgive > SLOW_CALLS * FORGIVEN_BY:
                logger.warning("calls are slow (%.1f ms): they go to a thread now", seconds * 1000)
                self.inline_seconds = 0.0
        elif self._to_forgive:
            self._to_forgive -= 1
        self._resolve(batch, rows, outcomes, started, seconds)

    def _next_batch(self, now: float) -> list[Job]:
        """Take requests from the queue until the batch is full.

        Skip those whose cancellation or deadline the event loop has not handled yet.
        """
        batch: list[Job] = []
        rows = 0
        observe_wait = self._metrics.queue_seconds.observe
        while self._queue:
            job = self._queue[0]
            if batch and rows + len(job.rows) > self._limits.batch_rows:
                break
            self._queue.popleft()
            self._queued_rows -= len(job.rows)
            if job.outputs.done():
                continue
            if job.deadline <= now:
                self._expire(job)
                continue
            batch.append(job)
            rows += len(job.rows)
            observe_wait(now - job.arrived)
        return batch

    def _run_batch(self, batch: list[Job]) -> BatchResult:
        """Predict a batch. Runs in any thread: uses no state."""
        started = time.perf_counter()
        return BatchResult(self._outcomes_of(batch), started, time.perf_counter() - started)

    def _outcomes_of(self, batch: list[Job]) -> list[Outcome]:
        """Predict a batch; halve one that fails, until only the request that fails it is left."""
        try:
            rows = joined([job.rows for job in batch])
            outputs = self._call_model(rows)
            if len(outputs) != len(rows):
                raise ValueError(f"{len(outputs)} outputs for {len(rows)} rows")  # noqa: TRY301
            if not outputs.finite:
                raise NonFiniteOutput(NOT_FINITE)  # noqa: TRY301
        except BaseException as error:  # whatever the model raises, its thread lives on
            if len(batch) == 1:
                return [as_exception(error)]
            middle = len(batch) // 2
            return self._outcomes_of(batch[:middle]) + self._outcomes_of(batch[middle:])
        if self._observe is not None:
            self._observe(rows, outputs)
        parts: list[Outcome] = []
        start = 0
        for job in batch:
            stop = start + len(job.rows)
            parts.append(outputs.part(start, stop))
            start = stop
        return parts

    def _call_model(self, rows: Values) -> Outputs:
        most = PIECE * self._limits.batch_rows
        if len(rows) <= most or not self._limits.split:
            return self._predict(rows)
        starts = range(0, len(rows), most)
        return Outputs.joined([self._predict(rows[start : start + most]) for start in starts])

    def _on_thread_done(self, batch: list[Job], result: BatchResult) -> None:
        """Start the thread's next batch, then give the callers of this one their outputs."""
        self._free += 1
        self._dispatch(asyncio.get_running_loop())
        self._resolve(batch, sum(len(job.rows) for job in batch), *result)

    def _resolve(
        self, batch: list[Job], rows: int, outcomes: list[Outcome], started: float, seconds: float
    ) -> None:
        self._metrics.predict_seconds.observe(seconds)
        self._metrics.batch_rows.observe(rows)
        for job, outcome in zip(batch, outcomes, strict=True):
            if job.trace is not None:
                job.trace.calls.append(Call(job.queued, started, seconds, rows))
            if job.outputs.done():
                continue
            if isinstance(outcome, Exception):
                job.outputs.set_exception(outcome)
            else:
                job.outputs.set_result(outcome)

    def _expire(self, job: Job) -> None:
        if not job.outputs.done():
            if job.trace is not None:
                job.trace.calls.append(Call(job.queued, time.perf_counter(), 0.0, batch_rows=0))
            self._metrics.expired += 1
            job.outputs.set_exception(DeadlineExceeded("No prediction within the deadline."))
