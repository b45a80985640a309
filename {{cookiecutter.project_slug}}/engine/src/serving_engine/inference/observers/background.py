"""A thread of the lowest priority with a bounded queue: what does not fit is dropped at once."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ...blas_threads import limit_threads

Item = TypeVar("Item")

LOWEST_PRIORITY = 19
REST = 0.05
"""Seconds between two batches. A thread that woke up for every request would take the interpreter
from the event loop as often."""


class BackgroundThread(Generic[Item]):
    """Calls `work` with what was offered, a batch at a time.

    work: gets the items of one batch; it must not raise. batch: most cost of a batch; an item may
    be larger. limit: most cost of the items in the queue and in `work`. prepare: called once in the
    thread, before the first batch. finish: called once in the thread, after the last one.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Item]], None],
        *,
        batch: int,
        limit: int,
        prepare: Callable[[], None] = lambda: None,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._batch = batch
        self._limit = limit
        self._prepare = prepare
        self._finish = finish
        self._queue: SimpleQueue[tuple[Item, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._cost = 0
        self._ending = threading.Event()
        self._busy_since = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item, cost: int) -> bool:
        """Put an item into the queue; return whether there was room. Never waits."""
        with self._lock:
            # An item larger than the whole queue still fits into an empty one.
            if self._ending.is_set() or (self._cost and self._cost + cost > self._limit):
                return False
            self._cost += cost
        self._queue.put((item, cost))
        return True

    def busy_seconds(self) -> float:
        """How long the thread has been at its present work; 0 if it is at none."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    def end(self) -> None:
        """Make the thread end after what is queued."""
        self._ending.set()
        self._queue.put(None)

    def close(self, patience: float) -> None:
        """End the thread; wait for it, for `patience` seconds at most."""
        self.end()
        self._thread.join(patience)

    def _run(self) -> None:
        lower_priority()
        limit_threads()  # OpenMP's limit belongs to the thread
        self._busy_since = time.monotonic()
        self._prepare()
        self._busy_since = 0.0
        more = True
        while more:
            more = self._run_batch()
            self._ending.wait(REST)
        self._finish()

    def _run_batch(self) -> bool:
        """Work on the next batch; return whether another one follows."""
        items: list[Item] = []
        costs = 0
        entry = self._queue.get()
        while entry is not None:
            items.append(entry[0])
            costs += entry[1]
            if costs >= self._batch:
                break
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
        if items:
            self._busy_since = time.monotonic()
            self._work(items)
            self._busy_since = 0.0
            with self._lock:
                self._cost -= costs
        return entry is not None


def lower_priority() -> None:
    """Give the calling thread the lowest priority, where the system has one for a thread."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
