"""What the service counts, in the Prometheus text format.

Labels never hold what a client sent: `route` is the template of a known route or `unmatched`.
Counting is plain arithmetic in the event loop, a tenth of what prometheus_client's own metrics
cost per update; its library writes the exposition when somebody asks. With several workers each
publishes what it counted ten times a second, and whoever is asked adds up what all have published.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Protocol

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


_REQUEST_LABELS = ("protocol", "route", "status")
_HISTOGRAMS: tuple[tuple[str, str, tuple[str, ...], tuple[float, ...]], ...] = (
    (
        "serving_request_seconds",
        "From a request's headers to its answer.",
        _REQUEST_LABELS,
        SECONDS,
    ),
    ("serving_queue_seconds", "Waiting for a thread.", (), SECONDS),
    ("serving_predict_seconds", "One call of the model.", (), SECONDS),
    ("serving_batch_rows", "Rows in one call of the model.", (), ROWS),
)
_COUNTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("serving_refused", "Requests turned away unpredicted.", ("reason",)),
    ("serving_expired", "Deadlines that passed.", ()),
    ("serving_cancelled", "Callers that went away.", ()),
    ("serving_reloads", "Models that were to replace the one served.", ("result",)),
    ("serving_worker_restarts", "Workers that ended unasked and were replaced.", ()),
)

Counts = dict[str, list[float]]
"""Numbers that add up over processes, under the name of the metric and its labels, a line each."""


class Shared(Protocol):
    """Where the workers of one service put what they count.

    left_behind: what the last worker in this one's place published. snapshots: what each place
    has published, and whether its worker lives.
    """

    left_behind: bytes

    def publish(self, snapshot: bytes, /) -> None: ...
    def snapshots(self) -> Iterable[tuple[bytes, bool]]: ...
    def of_the_service(self) -> Counts: ...
    def workers(self) -> int: ...


class Histogram:
    """Counts of observations up to each bound, the last one without a bound."""

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
        """The counts, then the sum of what was observed."""
        return [*self._counts, self._sum]


class Metrics(Collector):
    """The metrics of one application. Everything but `render` is called in the event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.queued_rows = 0
        self.expired = 0
        self.cancelled = 0
        self.queue_seconds = Histogram(SECONDS)
        self.predict_seconds = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.protocols: dict[str, str] = {}
        """Which protocol a route belongs to, by its template; all others are `native`."""
        self._refused: dict[str, int] = {}
        self._reloads = {"ok": 0, "failed": 0}
        self._requests: dict[tuple[str, str], Histogram] = {}
        self._model = ("", "", 0.0)
        self._shared: Shared | None = None
        self._before: Counts = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request_started(self) -> None:
        """A request came in."""
        self.in_flight += 1

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """A request was answered with `status`; 499 stands for a client that went away."""
        self.in_flight -= 1
        labels = (route, f"{status // 100}xx")
        histogram = self._requests.get(labels)
        if histogram is None:
            histogram = self._requests[labels] = Histogram(SECONDS)
        histogram.observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was turned away before it was predicted."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def reloaded(self, succeeded: bool) -> None:
        """Another model was loaded, or could not be."""
        self._reloads["ok" if succeeded else "failed"] += 1

    def model_loaded(self, name: str, version: str, seconds: float) -> None:
        """A model is about to be served."""
        self._model = (name, version, seconds)

    def share(self, shared: Shared) -> None:
        """Count together with the other workers, and on from where the last one in this place
        ended."""
        self._shared = shared
        if shared.left_behind:
            self._before = orjson.loads(shared.left_behind)["counts"]

    def publish(self) -> None:
        """Show the other workers what was counted here."""
        if self._shared is not None:
            counts = self._counts()
            _add(counts, self._before)
            self._shared.publish(orjson.dumps({"counts": counts, "now": self._now()}))

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        counts, living, workers = self._of_all_workers()
        requests = CounterMetricFamily(
            "serving_requests", "Requests answered.", labels=_REQUEST_LABELS
        )
        for name, text, label_names, bounds in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, text, labels=label_names)
            for labels, (*buckets, total) in _of(name, counts):
                limits = [*map(str, bounds), "+Inf"]
                rising = list(zip(limits, accumulate(buckets), strict=True))
                histogram.add_metric(labels, buckets=rising, sum_value=total)
                if label_names:
                    requests.add_metric(labels, sum(buckets))
            yield histogram
        yield requests
        for name, text, label_names in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=label_names)
            for labels, (count,) in _of(name, counts):
                counter.add_metric(labels, count)
            yield counter
        yield GaugeMetricFamily("serving_workers", "Workers that are ready.", workers)
        yield GaugeMetricFamily(
            "serving_in_flight", "Requests in progress.", sum(now[0] for now in living)
        )
        yield GaugeMetricFamily(
            "serving_queued_rows", "Rows that wait.", sum(now[1] for now in living)
        )
        info = GaugeMetricFamily(
            "serving_model_info", "The model served: always 1.", labels=["name", "version"]
        )
        for name, version in {(now[2], now[3]) for now in living}:
            info.add_metric([name, version], 1)
        yield info
        yield GaugeMetricFamily(
            "serving_model_load_seconds", "How long loading took.", max(now[4] for now in living)
        )

    def _of_all_workers(self) -> tuple[Counts, list[list[Any]], int]:
        """What was counted, what holds now for each living worker, and how many are ready."""
        if self._shared is None:
            return self._counts() | {"serving_worker_restarts": [0]}, [self._now()], 1
        self.publish()
        counts, living = self._shared.of_the_service(), []
        for data, alive in self._shared.snapshots():
            if data:
                found = orjson.loads(data)
                _add(counts, found["counts"])
                if alive:
                    living.append(found["now"])
        return counts, living, self._shared.workers()

    def _counts(self) -> Counts:
        counts: Counts = {
            "serving_queue_seconds": self.queue_seconds.numbers,
            "serving_predict_seconds": self.predict_seconds.numbers,
            "serving_batch_rows": self.batch_rows.numbers,
            "serving_expired": [self.expired],
            "serving_cancelled": [self.cancelled],
        }
        for reason, count in self._refused.items():
            counts[f"serving_refused\n{reason}"] = [count]
        for result, count in self._reloads.items():
            counts[f"serving_reloads\n{result}"] = [count]
        for (route, status), histogram in self._requests.items():
            protocol = self.protocols.get(route, "native")
            key = f"serving_request_seconds\n{protocol}\n{route}\n{status}"
            counts[key] = histogram.numbers
        return counts

    def _now(self) -> list[Any]:
        return [self.in_flight, self.queued_rows, *self._model]


def _of(name: str, counts: Counts) -> Iterator[tuple[list[str], list[float]]]:
    """The labels and the numbers of every sample of a metric."""
    for key, numbers in counts.items():
        found, *labels = key.split("\n")
        if found == name:
            yield labels, numbers


def _add(counts: Counts, more: Counts) -> None:
    for key, numbers in more.items():
        have = counts.get(key)
        counts[key] = [a + b for a, b in zip(have, numbers, strict=True)] if have else numbers
