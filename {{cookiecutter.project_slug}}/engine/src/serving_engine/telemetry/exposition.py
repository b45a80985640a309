"""The metric families of the engine, made from the totals of all workers."""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DIFFERENCES = (0.0, 1e-6, 1e-4, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

_REQUEST_LABELS = ("protocol", "route", "status")
_HISTOGRAMS: tuple[tuple[str, str, tuple[str, ...], tuple[float, ...]], ...] = (
    (
        "serving_request_seconds",
        "From a request's headers to its response.",
        _REQUEST_LABELS,
        SECONDS,
    ),
    ("serving_queue_seconds", "Time in the queue.", (), SECONDS),
    ("serving_predict_seconds", "One call of the model.", (), SECONDS),
    ("serving_batch_rows", "Rows in one call of the model.", (), ROWS),
    ("serving_prediction_score", "Probability of each label that was predicted.", (), SCORES),
    ("serving_shadow_seconds", "One call of the shadow model.", (), SECONDS),
    (
        "serving_shadow_difference",
        "Largest difference of a number between the model and its shadow, for each row.",
        (),
        DIFFERENCES,
    ),
)
_COUNTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("serving_refused", "Requests rejected before prediction.", ("reason",)),
    ("serving_expired", "Requests whose deadline passed.", ()),
    ("serving_cancelled", "Requests cancelled because the client disconnected.", ()),
    ("serving_reloads", "Reloads of the model.", ("result",)),
    ("serving_predictions", "Predictions of each label.", ("label",)),
    ("serving_null_values", "Nulls in each column that may be null.", ("column",)),
    (
        "serving_out_of_range",
        "Values outside of the range or the categories that were observed when the model was "
        "packaged.",
        ("column",),
    ),
    ("serving_log_lines_dropped", "Log lines that standard error did not take at once.", ()),
    ("serving_traces_dropped", "Sampled requests whose spans were not delivered.", ()),
    ("serving_recorded_rows", "Rows written to the record of requests.", ()),
    ("serving_record_dropped", "Sampled rows that the record lacks.", ("reason",)),
    ("serving_shadow_loads", "Loads of the shadow model, of each worker.", ("result",)),
    ("serving_shadow_rows", "Rows that the shadow model predicted.", ("result",)),
    ("serving_shadow_dropped", "Rows that the shadow model did not see.", ("reason",)),
    ("serving_worker_restarts", "Workers replaced after a crash or a hang.", ()),
)

Counts = dict[str, list[float]]
"""Numbers that are added up over processes. A key is a metric's name and label values, joined by
line ends."""


class Gauges(NamedTuple):
    """The current state of one worker; it is not kept when the worker ends."""

    in_flight: int
    queued_rows: int
    buffered_bytes: int
    model_name: str
    model_version: str
    load_seconds: float
    failed_threads: int


class Totals(NamedTuple):
    """The metrics of all workers.

    gauges: of each worker that serves. ready: number of workers that are ready.
    """

    counts: Counts
    gauges: list[Gauges]
    ready: int


def engine_families(totals: Totals) -> Iterator[Metric]:
    """The metric families, for prometheus_client."""
    requests = CounterMetricFamily(
        "serving_requests", "Requests that got a response.", labels=_REQUEST_LABELS
    )
    for name, text, label_names, bounds in _HISTOGRAMS:
        histogram = HistogramMetricFamily(name, text, labels=label_names)
        for labels, (*buckets, total) in _samples(name, totals.counts):
            limits = [*map(str, bounds), "+Inf"]
            cumulative = list(zip(limits, accumulate(buckets), strict=True))
            histogram.add_metric(labels, buckets=cumulative, sum_value=total)
            if label_names:
                requests.add_metric(labels, sum(buckets))
        yield histogram
    yield requests
    for name, text, label_names in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=label_names)
        for labels, (count,) in _samples(name, totals.counts):
            counter.add_metric(labels, count)
        yield counter
    yield GaugeMetricFamily("serving_workers", "Workers that are ready.", totals.ready)
    yield GaugeMetricFamily(
        "serving_in_flight", "Requests in progress.", sum(one.in_flight for one in totals.gauges)
    )
    yield GaugeMetricFamily(
        "serving_queued_rows", "Rows in the queue.", sum(one.queued_rows for one in totals.gauges)
    )
    yield GaugeMetricFamily(
        "serving_failed_threads",
        "Prediction threads that are lost, or stuck in a call.",
        sum(one.failed_threads for one in totals.gauges),
    )
    yield GaugeMetricFamily(
        "serving_buffered_bytes",
        "Bytes of requests and unread responses that connections hold.",
        sum(one.buffered_bytes for one in totals.gauges),
    )
    info = GaugeMetricFamily(
        "serving_model_info", "The model served: always 1.", labels=["name", "version"]
    )
    for model in {(one.model_name, one.model_version) for one in totals.gauges}:
        info.add_metric(model, 1)
    yield info
    yield GaugeMetricFamily(
        "serving_model_load_seconds",
        "Time that loading the model took.",
        max(one.load_seconds for one in totals.gauges),
    )


def _samples(name: str, counts: Counts) -> Iterator[tuple[list[str], list[float]]]:
    """The label values and the numbers of every sample of a metric."""
    for key, numbers in counts.items():
        metric, *labels = key.split("\n")
        if metric == name:
            yield labels, numbers
