"""Natural batching: whatever waited while the model was busy goes into its next call.

There is no timer. What arrived in one turn of the event loop is predicted in the next; the busier
the model, the larger the batches, up to a number of rows. The queue is bounded: over it, a request
is refused at once instead of being answered late. All state belongs to the event loop; the threads
only ever see the batch they were handed. A model that was found to take less time than handing a
batch to a thread and back is called in the event loop itself.
"""

import asyncio
import logging
import random
import time
from collections import deque
from dataclasses import dataclass

from ..artifact.load import Predict
from ..errors import DeadlineExceeded, NonFiniteOutput, QueueFull
from ..schema.answers import Outputs
from ..schema.requests import Rows, Values, joined
from ..telemetry.metrics import Metrics
from .threads import PredictionThreads

Outcome = Outputs | Exception

NOT_FINITE = "The model's answer to this input is not a finite number."
TOO_SLOW = 10
PIECE = 16
"""A request that is predicted in pieces has so many times the rows of a full batch in each. Fewer
would cost a forest three times the time of one call; all in one, memory without bound."""
SLOW_CALLS = 3
"""So many calls in a row that take so many times what they may end calls in the event loop. One
alone may only have waited for a processor."""

logger = logging.getLogger("model")


@dataclass(frozen=True)
class Bounds:
    """How much is batched and how much may wait.

    batch_rows: most rows in one call; a larger request shares it with nobody.
    queued_rows, queued_requests: most that waits for a thread.
    split: whether a larger request is predicted in pieces; not where its rows belong together.
    """

    batch_rows: int
    queued_rows: int
    queued_requests: int
    split: bool = True


class Job:
    """One request: its rows, what its caller awaits, and its times in the clock of the loop."""

    __slots__ = ("answer", "arrived", "deadline", "rows")

    def __init__(
        self, rows: Rows, answer: "asyncio.Future[Outputs]", arrived: float, deadline: float
    ) -> None:
        self.rows = rows
        self.answer = answer
        self.arrived = arrived
        self.deadline = deadline


class Batcher:
    """Hands the rows of many callers to few threads, and every caller its own answers."""

    def __init__(
        self, predict: Predict, threads: PredictionThreads, bounds: Bounds, metrics: Metrics
    ) -> None:
        self._predict = predict
        self._threads = threads
        self._free = threads.count
        self._bounds = bounds
        self._metrics = metrics
        self._queue: deque[Job] = deque()
        self._queued_rows = 0
        self._dispatching = False
        self._slow_calls = 0
        self.inline_seconds = 0.0
        """A call may run in the event loop if it takes at most so long; 0 leaves all to threads."""

    async def predict(self, rows: Rows, timeout: float) -> Outputs:
        """Predict the rows of one request.

        timeout: seconds for waiting and computing.
        Raises QueueFull, DeadlineExceeded, or what the model raised for these rows.
        """
        loop = asyncio.get_running_loop()
        self._admit(len(rows))
        now = loop.time()
        job = Job(rows, loop.create_future(), now, now + timeout)
        self._queue.append(job)
        self._queued_rows += len(rows)
        self._metrics.queued_rows = self._queued_rows
        if self._free and not self._dispatching:
            self._dispatching = True
            loop.call_soon(self._dispatch, loop)
        timer = None if self.inline_seconds else loop.call_at(job.deadline, self._expire, job)
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._metrics.cancelled += 1
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _admit(self, rows: int) -> None:
        waiting = self._queued_rows
        # A request larger than the whole queue is still served by an idle service.
        too_many_rows = waiting and waiting + rows > self._bounds.queued_rows
        if too_many_rows or len(self._queue) >= self._bounds.queued_requests:
            self._metrics.refused("queue-full")
            # Jittered, so that callers refused together do not come back together.
            seconds = random.randint(1, 3)  # noqa: S311
            raise QueueFull("Too many requests are waiting.", headers={"Retry-After": str(seconds)})

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give every free thread the next batch, or predict it here."""
        self._dispatching = False
        while self._free and self._queue:
            batch = self._next_batch(loop.time())
            if not batch:
                continue
            rows = sum(len(job.rows) for job in batch)
            if self.inline_seconds and rows <= self._bounds.batch_rows:
                self._predict_here(batch, rows)
            else:
                self._free -= 1
                self._threads.run(self._compute, batch, loop, self._settle)
        self._metrics.queued_rows = self._queued_rows

    def _predict_here(self, batch: list[Job], rows: int) -> None:
        outcomes, seconds = self._compute(batch)
        self._slow_calls = self._slow_calls + 1 if seconds > TOO_SLOW * self.inline_seconds else 0
        if self._slow_calls == SLOW_CALLS:
            logger.warning("a call took %.1f ms: calls go to a thread from now on", seconds * 1000)
            self.inline_seconds = 0.0
        self._answer(batch, rows, outcomes, seconds)

    def _next_batch(self, now: float) -> list[Job]:
        """The longest run of waiting requests that fits; those that nobody awaits are dropped."""
        batch: list[Job] = []
        rows = 0
        waited = self._metrics.queue_seconds.observe
        while self._queue:
            job = self._queue[0]
            if batch and rows + len(job.rows) > self._bounds.batch_rows:
                break
            self._queue.popleft()
            self._queued_rows -= len(job.rows)
            if job.answer.done():
                continue
            if job.deadline <= now:
                self._expire(job)
                continue
            batch.append(job)
            rows += len(job.rows)
            waited(now - job.arrived)
        return batch

    def _compute(self, batch: list[Job]) -> tuple[list[Outcome], float]:
        """The outcomes, and the seconds that the model took. Touches no state."""
        started = time.perf_counter()
        return self._outcomes(batch), time.perf_counter() - started

    def _outcomes(self, batch: list[Job]) -> list[Outcome]:
        """One bad request never fails its neighbours: a batch that fails is halved until the
        failure stands alone."""
        rows = joined([job.rows for job in batch])
        try:
            outputs = self._call(rows)
            if len(outputs) != len(rows):
                raise ValueError(f"{len(outputs)} answers to {len(rows)} rows")  # noqa: TRY301
            if not outputs.finite:
                raise NonFiniteOutput(NOT_FINITE)  # noqa: TRY301
        except Exception as error:
            if len(batch) == 1:
                return [error]
            middle = len(batch) // 2
            return self._outcomes(batch[:middle]) + self._outcomes(batch[middle:])
        parts: list[Outcome] = []
        start = 0
        for job in batch:
            stop = start + len(job.rows)
            parts.append(outputs.part(start, stop))
            start = stop
        return parts

    def _call(self, rows: Values) -> Outputs:
        most = PIECE * self._bounds.batch_rows
        if len(rows) <= most or not self._bounds.split:
            return self._predict(rows)
        starts = range(0, len(rows), most)
        return Outputs.joined([self._predict(rows[start : start + most]) for start in starts])

    def _settle(self, batch: list[Job], result: tuple[list[Outcome], float]) -> None:
        """Back from a thread: it gets its next batch first, then the callers their answers."""
        outcomes, seconds = result
        self._free += 1
        self._dispatch(asyncio.get_running_loop())
        self._answer(batch, sum(len(job.rows) for job in batch), outcomes, seconds)

    def _answer(self, batch: list[Job], rows: int, outcomes: list[Outcome], seconds: float) -> None:
        self._metrics.predict_seconds.observe(seconds)
        self._metrics.batch_rows.observe(rows)
        for job, outcome in zip(batch, outcomes, strict=True):
            if job.answer.done():
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)

    def _expire(self, job: Job) -> None:
        if not job.answer.done():
            self._metrics.expired += 1
            job.answer.set_exception(DeadlineExceeded("No answer within the deadline."))
