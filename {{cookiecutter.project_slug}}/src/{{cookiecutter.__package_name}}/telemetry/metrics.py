"""What the service counts, in the Prometheus text format.

Labels never hold what a client sent: `route` is the template of a known route or `unmatched`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ("route", "status")
        self._requests = Counter(
            "serving_requests", "Requests answered.", labels, registry=registry
        )
        self._request_seconds = Histogram(
            "serving_request_seconds",
            "From the first byte of a request's handling to the end of its answer.",
            labels,
            registry=registry,
            buckets=_SECONDS,
        )
        self._in_flight = Gauge(
            "serving_in_flight", "Requests being answered now.", registry=registry
        )
        self._batch_rows = Histogram(
            "serving_batch_rows", "Rows in one call of the model.", registry=registry, buckets=_ROWS
        )
        self._predict_seconds = Histogram(
            "serving_predict_seconds",
            "One call of the model.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._model_info = Gauge(
            "serving_model_info",
            "The model served: always 1.",
            ("name", "version"),
            registry=registry,
        )
        self._load_seconds = Gauge(
            "serving_model_load_seconds", "How long the model took to load.", registry=registry
        )

    def request_started(self) -> None:
        """A request came in."""
        self._in_flight.inc()

    def request_done(self, route: str, status: int, seconds: float) -> None:
        """A request was answered with `status`; 499 stands for a client that went away."""
        self._in_flight.dec()
        labels = (route, f"{status // 100}xx")
        self._requests.labels(*labels).inc()
        self._request_seconds.labels(*labels).observe(seconds)

    def batch_predicted(self, rows: int, seconds: float) -> None:
        """The model answered a batch."""
        self._batch_rows.observe(rows)
        self._predict_seconds.observe(seconds)

    def model_loaded(self, name: str, version: str, seconds: float) -> None:
        """A model is about to be served."""
        self._model_info.clear()
        self._model_info.labels(name, version).set(1)
        self._load_seconds.set(seconds)

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
