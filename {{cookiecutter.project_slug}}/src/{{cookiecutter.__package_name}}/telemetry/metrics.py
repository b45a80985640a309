"""What the service counts, in the Prometheus text format.

Labels never hold what a client sent: `route` is the template of a known route or `unmatched`.
Counting is plain arithmetic in the event loop, a tenth of what prometheus_client's own metrics
cost per update; its library writes the exposition when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

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
    def count(self) -> int:
        """How many observations there were."""
        return sum(self._counts)

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Write this histogram as a sample of `family`."""
        names = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets=buckets, sum_value=self._sum)


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
        self._refused: dict[str, int] = {}
        self._requests: dict[tuple[str, str], Histogram] = {}
        self._model = ("", "", 0.0)
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

    def model_loaded(self, name: str, version: str, seconds: float) -> None:
        """A model is about to be served."""
        self._model = (name, version, seconds)

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        labels = ["route", "status"]
        requests = CounterMetricFamily("serving_requests", "Requests answered.", labels=labels)
        seconds = HistogramMetricFamily(
            "serving_request_seconds", "From a request's headers to its answer.", labels=labels
        )
        for key, histogram in self._requests.items():
            requests.add_metric(list(key), histogram.count)
            histogram.add_to(seconds, list(key))
        refused = CounterMetricFamily(
            "serving_refused", "Requests turned away unpredicted.", labels=["reason"]
        )
        for reason, count in self._refused.items():
            refused.add_metric([reason], count)
        yield from (requests, seconds, refused)
        yield _histogram("serving_queue_seconds", "Waiting for a thread.", self.queue_seconds)
        yield _histogram("serving_predict_seconds", "One call of the model.", self.predict_seconds)
        yield _histogram("serving_batch_rows", "Rows in one call of the model.", self.batch_rows)
        yield CounterMetricFamily("serving_expired", "Deadlines that passed.", self.expired)
        yield CounterMetricFamily("serving_cancelled", "Callers that went away.", self.cancelled)
        yield GaugeMetricFamily("serving_in_flight", "Requests in progress.", self.in_flight)
        yield GaugeMetricFamily("serving_queued_rows", "Rows that wait.", self.queued_rows)
        name, version, load_seconds = self._model
        info = GaugeMetricFamily(
            "serving_model_info", "The model served: always 1.", labels=["name", "version"]
        )
        info.add_metric([name, version], 1)
        yield info
        yield GaugeMetricFamily(
            "serving_model_load_seconds", "How long loading took.", load_seconds
        )


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=[])
    histogram.add_to(family, [])
    return family
