"""The metrics of the service, in the Prometheus text format.

No label holds a value that a client sent: `route` is the template of a known route or `unmatched`.
An update is plain arithmetic in the event loop: a tenth of what prometheus_client needs, which only
writes the exposition when `/metrics` is requested. With several workers, each one publishes a
snapshot ten times a second, and the worker that gets the request for `/metrics` adds up the
snapshots of all. The snapshots include the metrics that the owner makes with prometheus_client.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .exposition import ROWS, SECONDS, Counts, Gauges, Totals, engine_families
from .log_handler import dropped_lines
from .observer_metrics import ObserverMetrics
from .owner_metrics import (
    Family,
    WorkerFamilies,
    add_up,
    aggregate,
    check_can_be_shared,
    families_of_this_process,
    metrics_of_this_process,
)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Snapshot(NamedTuple):
    """The bytes that a worker published. alive: whether the worker still serves."""

    data: bytes
    alive: bool


class Shared(Protocol):
    """Shared memory in which the workers of one service publish their snapshots.

    inherited: the last snapshot of the previous worker in the same slot; empty if there was none.
    """

    inherited: bytes

    def publish(self, snapshot: bytes, /) -> None: ...
    def snapshots(self) -> Iterable[Snapshot]: ...
    def of_the_service(self) -> Counts: ...
    def workers(self) -> int: ...


class Histogram:
    """Counts of observations up to each bound; the last count has no bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def numbers(self) -> list[float]:
        """The counts, then the sum of all observations."""
        return [*self._counts, self._sum]


class Metrics(Collector):
    """The metrics of one application. Everything but `render` is called in the event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.queued_rows = 0
        self.buffered_bytes = 0
        self.expired = 0
        self.cancelled = 0
        self.queue_seconds = Histogram(SECONDS)
        self.predict_seconds = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.observers = ObserverMetrics()
        self.protocols: dict[str, str] = {}
        """The protocol of a route, by its template; routes not listed are `native`."""
        self.of_the_model: Counts = {}
        """Labels, scores, nulls and unusual values, by metric and label; threads add to it."""
        self._flush_model: list[Callable[[], None]] = []
        self._refused: dict[str, int] = {}
        self._reloads = {"ok": 0, "failed": 0}
        self._requests: dict[tuple[str, str], Histogram] = {}
        self._dropped_before = dropped_lines()  # by the process that forked this one
        self._model = ("", "", 0.0)
        self.count_dropped_traces: Callable[[], int] = lambda: 0
        self._failed_threads: Callable[[], int] = lambda: 0
        self._shared: Shared | None = None
        self._inherited: Counts = {}
        self._inherited_of_owner: list[Family] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request_started(self) -> None:
        """Count a request that arrived."""
        self.in_flight += 1

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """Count a request that got a response; status 499 means that the client disconnected."""
        self.in_flight -= 1
        labels = (route, str(status))
        histogram = self._requests.get(labels)
        if histogram is None:
            histogram = self._requests[labels] = Histogram(SECONDS)
        histogram.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was rejected before prediction."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def reloaded(self, succeeded: bool) -> None:
        """Count a reload of the model."""
        self._reloads["ok" if succeeded else "failed"] += 1

    def model_loaded(
        self, name: str, version: str, seconds: float, failed_threads: Callable[[], int]
    ) -> None:
        """Record the model that is served from now on, and how long loading it took.

        failed_threads: returns the number of its prediction threads that are lost or stuck.
        """
        self._model = (name, version, seconds)
        self._failed_threads = failed_threads

    def observe_model(self, flush: Callable[[], None]) -> None:
        """Call `flush` before `of_the_model` is read, as the model before this one is flushed.

        Requests in flight may use that for a while.
        """
        self._flush_model = [*self._flush_model[-1:], flush]

    def share(self, shared: Shared) -> None:
        """Share metrics with the other workers, and add the counts of the slot's previous worker.

        Raises StartupError if a metric of the owner cannot be aggregated.
        """
        check_can_be_shared()
        self._shared = shared
        if shared.inherited:
            previous = json.loads(shared.inherited)
            self._inherited = previous["counts"]
            self._inherited_of_owner = previous["owner"]

    def publish(self) -> None:
        """Publish a snapshot to the other workers."""
        if self._shared is not None:
            counts = self._counts()
            _add(counts, self._inherited)
            owner = add_up(families_of_this_process(), self._inherited_of_owner)
            snapshot = {"counts": counts, "gauges": list(self._gauges()), "owner": owner}
            # json, as orjson turns the values inf and NaN of an owner's gauge into null.
            self._shared.publish(json.dumps(snapshot, separators=(",", ":")).encode())

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        if self._shared is None:
            counts = self._counts() | {"serving_worker_restarts": [0]}
            yield from engine_families(Totals(counts, [self._gauges()], ready=1))
            yield from metrics_of_this_process()
        else:
            totals, owner = self._of_all_workers(self._shared)
            yield from engine_families(totals)
            yield from aggregate(owner)

    def _of_all_workers(self, shared: Shared) -> tuple[Totals, list[WorkerFamilies]]:
        """The metrics of the engine and those of the owner."""
        self.publish()
        counts = shared.of_the_service()
        gauges: list[Gauges] = []
        owner: list[WorkerFamilies] = []
        for number, snapshot in enumerate(shared.snapshots()):
            if snapshot.data:
                published = json.loads(snapshot.data)
                _add(counts, published["counts"])
                owner.append(WorkerFamilies(str(number), snapshot.alive, published["owner"]))
                if snapshot.alive:
                    gauges.append(Gauges(*published["gauges"]))
        return Totals(counts, gauges, shared.workers()), owner

    def _counts(self) -> Counts:
        counts: Counts = {
            "serving_queue_seconds": self.queue_seconds.numbers,
            "serving_predict_seconds": self.predict_seconds.numbers,
            "serving_batch_rows": self.batch_rows.numbers,
            "serving_expired": [self.expired],
            "serving_cancelled": [self.cancelled],
            "serving_log_lines_dropped": [dropped_lines() - self._dropped_before],
            "serving_traces_dropped": [self.count_dropped_traces()],
            **self.observers.counts(),
        }
        for flush in self._flush_model:
            flush()
        counts.update(self.of_the_model)
        for reason, count in self._refused.items():
            counts[f"serving_refused\n{reason}"] = [count]
        for result, count in self._reloads.items():
            counts[f"serving_reloads\n{result}"] = [count]
        for (route, status), histogram in self._requests.items():
            protocol = self.protocols.get(route, "native")
            key = f"serving_request_seconds\n{protocol}\n{route}\n{status}"
            counts[key] = histogram.numbers
        return counts

    def _gauges(self) -> Gauges:
        return Gauges(
            self.in_flight,
            self.queued_rows,
            self.buffered_bytes,
            *self._model,
            self._failed_threads(),
        )


def _add(counts: Counts, more: Counts) -> None:
    for key, numbers in more.items():
        total = counts.get(key, [0] * len(numbers))
        counts[key] = [one + other for one, other in zip(total, numbers, strict=True)]
