"""Natural batching: whatever waited while the model was busy goes into its next call.

There is no timer. A request that finds a thread free is predicted at once; the busier the model,
the larger the batches, up to a number of rows. The queue is bounded: over it, a request is
refused at once instead of being answered late. All state belongs to the event loop; the threads
only ever see the batch they were handed.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..artifact.load import Predict
from ..errors import DeadlineExceeded, QueueFull
from ..schema.answers import Outputs
from ..schema.requests import Rows
from .threads import PredictionThreads

Outcome = Outputs | Exception


@dataclass(frozen=True)
class Bounds:
    """How much is batched and how much may wait.

    batch_rows: most rows in one call; a larger request has a call of its own.
    queued_rows, queued_requests: most that waits for a thread.
    """

    batch_rows: int
    queued_rows: int
    queued_requests: int


class Job:
    """One request: its rows, and the future that its caller awaits."""

    __slots__ = ("answer", "rows")

    def __init__(self, rows: Rows, answer: "asyncio.Future[Outputs]") -> None:
        self.rows = rows
        self.answer = answer


class Batcher:
    """Hands the rows of many callers to few threads, and every caller its own answers."""

    def __init__(self, call: Predict, threads: PredictionThreads, bounds: Bounds) -> None:
        self._call = call
        self._threads = threads
        self._free = threads.count
        self._bounds = bounds
        self._queue: deque[Job] = deque()
        self.queued_rows = 0

    async def predict(self, rows: Rows, timeout: float) -> Outputs:
        """Predict the rows of one request.

        timeout: seconds for waiting and computing.
        Raises QueueFull, DeadlineExceeded, or what the model raised for these rows.
        """
        loop = asyncio.get_running_loop()
        self._admit(rows)
        job = Job(rows, loop.create_future())
        self._queue.append(job)
        self.queued_rows += len(rows)
        if self._free:
            self._dispatch(loop)
        timer = loop.call_later(timeout, _expire, job.answer)
        try:
            return await job.answer
        finally:
            timer.cancel()

    def _admit(self, rows: Rows) -> None:
        waiting = self.queued_rows
        bounds = self._bounds
        # A request larger than the whole queue is still served by an idle service.
        if waiting and waiting + len(rows) > bounds.queued_rows:
            raise _busy()
        if len(self._queue) >= bounds.queued_requests:
            raise _busy()

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give every free thread the next batch."""
        while self._free and self._queue:
            batch = self._next_batch()
            if batch:
                self._free -= 1
                self._threads.run(self._compute, batch, loop, self._settle)

    def _next_batch(self) -> list[Job]:
        """Take the longest run of waiting requests that fits; those nobody awaits are dropped."""
        batch: list[Job] = []
        rows = 0
        while self._queue:
            job = self._queue[0]
            if batch and rows + len(job.rows) > self._bounds.batch_rows:
                break
            self._queue.popleft()
            self.queued_rows -= len(job.rows)
            if not job.answer.done():
                batch.append(job)
                rows += len(job.rows)
        return batch

    def _compute(self, batch: list[Job]) -> list[Outcome]:
        """Runs in a prediction thread. One bad request never fails its neighbours: a batch that
        fails is halved until the failure stands alone."""
        values = [row for job in batch for row in job.rows.values]
        try:
            outputs = self._call(values)
            if len(outputs) != len(values):
                raise ValueError(f"{len(outputs)} answers to {len(values)} rows")  # noqa: TRY301
        except Exception as error:
            if len(batch) == 1:
                return [error]
            middle = len(batch) // 2
            return self._compute(batch[:middle]) + self._compute(batch[middle:])
        parts: list[Outcome] = []
        start = 0
        for job in batch:
            stop = start + len(job.rows)
            parts.append(outputs.part(start, stop))
            start = stop
        return parts

    def _settle(self, batch: list[Job], outcomes: list[Outcome]) -> None:
        """Back in the event loop: every caller gets its own, and the thread its next batch."""
        self._free += 1
        for job, outcome in zip(batch, outcomes, strict=True):
            if job.answer.done():
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)
        self._dispatch(asyncio.get_running_loop())


def _expire(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceeded("No answer within the deadline."))


def _busy() -> QueueFull:
    # Jittered, so that callers refused together do not come back together.
    seconds = random.randint(1, 3)  # noqa: S311
    return QueueFull("Too many requests are waiting.", headers={"Retry-After": str(seconds)})
