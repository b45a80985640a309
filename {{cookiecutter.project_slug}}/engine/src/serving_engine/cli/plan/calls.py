"""Measures calls of the model: batches of all sizes, and how they keep the event loop waiting."""

import sys
import threading
import time
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import median

from ...heap import freeze_heap
from ...inference.batcher import QueueLimits
from ...runtimes.base import LoadedModel
from ...schema.request_parser import RequestParser, Rows, Values, joined
from ...settings import ServingSettings
from ..bench.target import Query
from .simulate import Worker

MOST_KEPT = 2000
"""Samples of a spread that are kept."""
_OPEN = 2
"""Times the requests that the queue holds, which clients are taken to have open at once."""
_LEAST_CALLS = 5
_NAP = 1e-4
_WAITS = 100


def time_calls(
    loaded: LoadedModel, settings: ServingSettings, queries: Sequence[Query], seconds: float
) -> Worker:
    """A worker whose requests cost nothing yet: the rules, and the times of calls of the model."""
    probes = loaded.manifest.probes
    limits = QueueLimits(
        batch_rows=settings.max_batch_rows if probes.row_independent else 1,
        queued_rows=settings.max_queued_rows,
        queued_requests=settings.max_queued_requests,
    )
    parser = RequestParser(loaded.manifest.signature, settings.max_rows)
    requests = [parser.parse(query.request.partition(b"\r\n\r\n")[2]) for query in queries]
    freeze_heap()
    times = _times(loaded, requests, limits.batch_rows, seconds)
    full = min(times[max(times)])
    inline = loaded.bounded and full <= settings.inline_seconds
    medians = {size: median(found) for size, found in times.items()}
    ratios = [took / medians[size] for size, found in times.items() for took in found]
    return Worker(
        turn=0.0,
        request=0.0,
        refusal=0.0,
        batches=tuple(medians.items()),
        inline=inline,
        hold=0.0 if inline else _hold(loaded, requests, limits.batch_rows, full),
        limits=limits,
        timeout=settings.request_timeout,
        connections=_OPEN * settings.max_queued_requests,
        threads=settings.threads if probes.thread_safe else 1,
        spread=tuple(ratios[:: max(1, len(ratios) // MOST_KEPT)]),
    )


def _times(
    loaded: LoadedModel, requests: Sequence[Rows], batch_rows: int, seconds: float
) -> dict[int, list[float]]:
    """The seconds of calls by their rows: batches of 1, 2, 4, ... requests, in turn."""
    most = max(1, batch_rows // len(requests[0]))
    counts = [2**power for power in range(most.bit_length())]
    batches = [_batch(requests, count) for count in sorted({*counts, most})]
    for rows in batches:
        loaded.predict(rows)
    times: dict[int, list[float]] = {len(rows): [] for rows in batches}
    end = time.perf_counter() + seconds
    while min(map(len, times.values())) < _LEAST_CALLS or time.perf_counter() < end:
        for rows in batches:
            began = time.perf_counter()
            loaded.predict(rows)
            times[len(rows)].append(time.perf_counter() - began)
    return times


def _batch(requests: Sequence[Rows], count: int) -> Values:
    """The rows of `count` requests, as the batcher joins them."""
    return joined(list(islice(cycle(requests), count)))


def _hold(
    loaded: LoadedModel, requests: Sequence[Rows], batch_rows: int, call_seconds: float
) -> float:
    """How long a call in a thread keeps other threads from running Python.

    A thread that wakes up during calls that have the interpreter's lock waits for half a call or
    so, and for the switch interval at most; during calls that release it, next to nothing.
    """
    rows = _batch(requests, max(1, batch_rows // len(requests[0])))
    stop = threading.Event()

    def predict() -> None:
        while not stop.wait(_NAP):
            loaded.predict(rows)

    def wait() -> float:
        began = time.perf_counter()
        time.sleep(_NAP)
        return time.perf_counter() - began

    idle = median(wait() for _ in range(_WAITS))
    thread = threading.Thread(target=predict)
    thread.start()
    waits = median(wait() for _ in range(_WAITS)) - idle
    stop.set()
    thread.join()
    interval = sys.getswitchinterval()
    return interval if waits > min(call_seconds, interval) / 4 else 0.0
