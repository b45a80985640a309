"""The threads that predict, apart from the event loop."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from ..artifact.threads import limit_threads

PATIENCE = 1.0
"""Seconds for a thread that was told to end. A drain has waited for its work already; a thread
cannot be stopped, and a process that ends does not need it to be."""


class PredictionThreads:
    """A fixed number of threads that take work in turn and report back to the event loop.

    Cheaper per call than an executor: one hop there, one hop back, no future between them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._work: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"predict-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        compute: Callable[[Any], Any],
        work: Any,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[Any, Any], None],
    ) -> None:
        """Call `compute(work)` in a thread, then `done(work, result)` in `loop`.

        compute must not raise.
        """
        self._work.put((compute, work, loop, done))

    def end(self) -> None:
        """Let the threads end after the work they have."""
        for _ in self._threads:
            self._work.put(None)

    def ended(self) -> bool:
        """Whether all of them have."""
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """End the threads after the work they have; wait for them, but not for one that hangs."""
        self.end()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _serve(self) -> None:
        limit_threads()  # OpenMP's limit belongs to the thread
        while (item := self._work.get()) is not None:
            compute, work, loop, done = item
            result = compute(work)
            loop.call_soon_threadsafe(done, work, result)
