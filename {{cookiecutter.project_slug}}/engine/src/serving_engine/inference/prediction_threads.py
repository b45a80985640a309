"""The threads in which the model predicts, beside the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from ..blas_threads import limit_threads

Work = TypeVar("Work")
Result = TypeVar("Result")

PATIENCE = 1.0
"""Seconds to wait for the end of a thread. A drain has waited for its work already; a thread cannot
be stopped, and a process can end without it."""


class PredictionThreads:
    """A fixed number of threads that take work from a queue and report to the event loop.

    Cheaper per call than an executor: one hop there, one hop back, no future between them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._work: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._ending = False
        self._started = [0.0] * count
        """When each thread began its work, by `time.monotonic`; 0 while it has none."""
        self._threads = [
            threading.Thread(
                target=self._serve, args=(number,), name=f"predict-{number}", daemon=True
            )
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        compute: Callable[[Work], Result],
        work: Work,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[Work, Result], None],
    ) -> None:
        """Call `compute(work)` in a thread, then `done(work, result)` in `loop`.

        compute must not raise.
        """
        self._work.put((compute, work, loop, done))

    def end(self) -> None:
        """Make the threads end after their queued work."""
        self._ending = True
        for _ in self._threads:
            self._work.put(None)

    def ended(self) -> bool:
        """Whether all threads have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def failed(self, stuck_timeout: float) -> int:
        """The number of threads that are lost, or at work for more than `stuck_timeout` seconds."""
        if self._ending:
            return 0
        before = time.monotonic() - stuck_timeout
        return sum(
            0 < started < before or not thread.is_alive()
            for thread, started in zip(self._threads, self._started, strict=True)
        )

    def close(self) -> None:
        """End the threads after their queued work; wait for each, for `PATIENCE` at most."""
        self.end()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _serve(self, number: int) -> None:
        limit_threads()  # OpenMP's limit belongs to the thread
        while (item := self._work.get()) is not None:
            compute, work, loop, done = item
            self._started[number] = time.monotonic()
            result = compute(work)
            self._started[number] = 0.0
            loop.call_soon_threadsafe(done, work, result)
