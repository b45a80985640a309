"""Metrics that the owner makes with prometheus_client, in `/metrics` of any number of workers.

A counter, histogram or summary is added up over all workers, including those that were replaced. A
gauge is aggregated over the workers that serve, as its `multiprocess_mode` says: `sum`, `min` or
`max`; with the default mode, the value of each worker has the label `worker`.

So are those that prometheus_client makes of the process itself: processor time and garbage
collections are added up, memory and open files are those of each worker. A sum of the memory would
count the pages that the workers share once for each.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypedDict

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..errors import StartupError

_OF_THE_PROCESS = (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR)
_OF_THE_PROGRAM = PLATFORM_COLLECTOR
"""Its values are those of every worker."""
_ADDED_UP = (Counter, Histogram, Summary)
_AGGREGATE: dict[str, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}
_PER_WORKER = "all"
_WORKER_LABEL = "worker"

Sample = tuple[str, dict[str, str], float]
"""The name, labels and value of a sample."""


class Family(TypedDict):
    """The samples of one metric of one worker.

    mode: how a gauge is aggregated; empty if the metric is added up.
    """

    name: str
    type: str
    documentation: str
    mode: str
    samples: list[Sample]


class WorkerFamilies(NamedTuple):
    """The owner's metrics of one worker. alive: whether the worker still serves."""

    worker: str
    alive: bool
    families: list[Family]


def check_can_be_shared(registry: CollectorRegistry = REGISTRY) -> None:
    """Raise StartupError if a metric cannot be aggregated over several workers."""
    for collector in _collectors(registry):
        problem = _problem(collector)
        if problem:
            raise StartupError(
                f"{problem}, which is unsupported with several workers. Use a Counter, a "
                "Histogram, a Summary or a Gauge with the mode sum, min, max or all, or set "
                "SERVING_WORKERS=1."
            )


def families_of_this_process(registry: CollectorRegistry = REGISTRY) -> list[Family]:
    """The metrics of this process that can be aggregated over several workers."""
    return [
        Family(
            name=metric.name,
            type=metric.type,
            documentation=metric.documentation,
            mode=_mode(collector, metric),
            samples=[(name, dict(labels), value) for name, labels, value, *_ in metric.samples],
        )
        for collector in _collectors(registry)
        if not _problem(collector)
        for metric in _collect(collector)
    ]


def metrics_of_this_process(registry: CollectorRegistry = REGISTRY) -> Iterator[Metric]:
    """All metrics of the owner, for a service of one process."""
    for collector in _collectors(registry):
        yield from _collect(collector)


def add_up(families: Iterable[Family], others: Iterable[Family]) -> list[Family]:
    """Add the counters, histograms and summaries of `others` to `families`; leave out gauges."""
    totals = {family["name"]: family for family in families}
    for other in others:
        if other["mode"]:
            continue
        total = totals.setdefault(other["name"], other)
        if total is not other:
            total["samples"] = _aggregated([*total["samples"], *other["samples"]])
    return list(totals.values())


def aggregate(workers: Iterable[WorkerFamilies]) -> Iterator[Metric]:
    """The owner's metrics of the whole service."""
    collected: dict[str, tuple[Family, list[Sample]]] = {}
    for worker, alive, families in workers:
        for family in families:
            _, samples = collected.setdefault(family["name"], (family, []))
            if family["mode"] and not alive:
                continue
            label = {_WORKER_LABEL: worker} if family["mode"] == _PER_WORKER else {}
            samples += [(name, labels | label, value) for name, labels, value in family["samples"]]
    for family, samples in collected.values():
        metric = Metric(family["name"], family["documentation"], family["type"])
        for name, labels, value in _aggregated(samples, family["mode"]):
            metric.add_sample(name, labels, value)
        yield metric


def _aggregated(samples: Iterable[Sample], mode: str = "") -> list[Sample]:
    """Aggregate samples of equal name and labels, in the order of their first appearance."""
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for name, labels, value in samples:
        values.setdefault((name, tuple(sorted(labels.items()))), []).append(value)
    combine = _AGGREGATE.get(mode, sum)
    return [(name, dict(labels), float(combine(equal))) for (name, labels), equal in values.items()]


def _collectors(registry: CollectorRegistry) -> list[Collector]:
    # The registry's public methods return metrics, and only a collector knows its aggregation.
    return list(registry._collector_to_names)


def _collect(collector: Collector) -> Iterator[Metric]:
    """The metrics of a collector, without the samples that only say when they were created."""
    for metric in collector.collect():
        metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
        yield metric


def _mode(collector: Collector, metric: Metric | None = None) -> str:
    """How a gauge is aggregated: `sum`, `min`, `max` or `all`; empty for any other metric."""
    if collector in _OF_THE_PROCESS:
        if metric is None or metric.type != "gauge":
            return ""
        return "max" if collector is _OF_THE_PROGRAM else _PER_WORKER
    if not isinstance(collector, Gauge):
        return ""
    return collector._multiprocess_mode.removeprefix("live")


def _problem(collector: Collector) -> str:
    """The reason why a metric cannot be aggregated, or an empty string."""
    kind = type(collector).__name__
    name = getattr(collector, "_name", kind)
    if isinstance(collector, Gauge):
        mode = _mode(collector)
        supported = {*_AGGREGATE, _PER_WORKER}
        return "" if mode in supported else f"the gauge {name} has the multiprocess_mode {mode}"
    known = collector in _OF_THE_PROCESS or isinstance(collector, _ADDED_UP)
    return "" if known else f"the metric {name} has the type {kind}"
