"""The owner's metrics of prometheus_client: in one process, and aggregated over workers."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from serving_engine.errors import StartupError
from serving_engine.process.scoreboard import Scoreboard, SharedMetrics, State
from serving_engine.telemetry import metrics as metrics_module
from serving_engine.telemetry.metrics import Metrics
from serving_engine.telemetry.owner_metrics import (
    Family,
    WorkerFamilies,
    add_up,
    aggregate,
    check_can_be_shared,
    families_of_this_process,
    metrics_of_this_process,
)

from .service import samples

Values = dict[tuple[str, ...], float]


def values(metrics: Iterator[Metric]) -> Values:
    """The value of every sample, by its name and its label values."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def families(make: Callable[[CollectorRegistry], object]) -> list[Family]:
    """The metrics of a worker that makes and updates them, as another worker reads them."""
    registry = CollectorRegistry()
    make(registry)
    published: list[Family] = json.loads(json.dumps(families_of_this_process(registry)))
    return published


def count(amount: int) -> Callable[[CollectorRegistry], object]:
    """A counter, a histogram and a summary with `amount` observations of 2."""

    def make(registry: CollectorRegistry) -> None:
        counter = Counter("orders", "Orders.", ["kind"], registry=registry)
        histogram = Histogram("size", "Sizes.", buckets=[1, 5], registry=registry)
        summary = Summary("weight", "Weights.", registry=registry)
        for _ in range(amount):
            counter.labels("new").inc(2)
            histogram.observe(2)
            summary.observe(2)

    return make


def gauge(value: float, mode: str) -> Callable[[CollectorRegistry], object]:
    """A gauge with a value and a multiprocess_mode."""

    def make(registry: CollectorRegistry) -> None:
        Gauge("level", "Level.", multiprocess_mode=mode, registry=registry).set(value)  # type: ignore[arg-type]

    return make


def expected_counts(amount: int) -> Values:
    """The samples of `count(amount)`."""
    return {
        ("orders_total", "new"): 2 * amount,
        ("size_bucket", "1.0"): 0,
        ("size_bucket", "5.0"): amount,
        ("size_bucket", "+Inf"): amount,
        ("size_count",): amount,
        ("size_sum",): 2 * amount,
        ("weight_count",): amount,
        ("weight_sum",): 2 * amount,
    }


# Aggregation.


def test_counters_histograms_and_summaries_are_added_up_over_workers() -> None:
    workers = [
        WorkerFamilies("0", alive=True, families=families(count(1))),
        WorkerFamilies("1", alive=True, families=families(count(3))),
    ]
    assert values(aggregate(workers)) == expected_counts(4)


def test_counts_of_a_worker_that_does_not_serve_are_kept() -> None:
    workers = [
        WorkerFamilies("0", alive=False, families=families(count(1))),
        WorkerFamilies("1", alive=True, families=families(count(3))),
    ]
    assert values(aggregate(workers)) == expected_counts(4)


def test_counts_are_carried_over_to_a_worker_that_replaces_another() -> None:
    first = families(count(1))
    second = add_up(families(count(2)), first)
    third = add_up(families(count(3)), second)
    workers = [WorkerFamilies("0", alive=True, families=third)]
    assert values(aggregate(workers)) == expected_counts(6)


def test_a_metric_that_only_the_replaced_worker_had_is_carried_over() -> None:
    total = add_up([], families(count(2)))
    workers = [WorkerFamilies("0", alive=True, families=total)]
    assert values(aggregate(workers)) == expected_counts(2)


def test_the_gauge_of_a_replaced_worker_is_not_carried_over() -> None:
    assert add_up([], families(gauge(7, "sum"))) == []
    current = add_up(families(gauge(1, "sum")), families(gauge(7, "sum")))
    workers = [WorkerFamilies("0", alive=True, families=current)]
    assert values(aggregate(workers)) == {("level",): 1}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sum", {("level",): 9}),
        ("livesum", {("level",): 9}),
        ("min", {("level",): 2}),
        ("livemin", {("level",): 2}),
        ("max", {("level",): 7}),
        ("livemax", {("level",): 7}),
        ("all", {("level", "0"): 2, ("level", "1"): 7}),
        ("liveall", {("level", "0"): 2, ("level", "1"): 7}),
    ],
)
def test_a_gauge_is_aggregated_by_its_mode_over_the_workers_that_serve(
    mode: str, expected: Values
) -> None:
    workers = [
        WorkerFamilies("0", alive=True, families=families(gauge(2, mode))),
        WorkerFamilies("1", alive=True, families=families(gauge(7, mode))),
        WorkerFamilies("2", alive=False, families=families(gauge(100, mode))),
    ]
    assert values(aggregate(workers)) == expected


def test_a_gauge_with_labels_also_gets_the_label_of_the_worker() -> None:
    def make(registry: CollectorRegistry) -> None:
        Gauge("level", "Level.", ["tank"], registry=registry).labels("left").set(1)

    (metric,) = aggregate([WorkerFamilies("3", alive=True, families=families(make))])
    assert [sample.labels for sample in metric.samples] == [{"tank": "left", "worker": "3"}]
    assert (metric.name, metric.type, metric.documentation) == ("level", "gauge", "Level.")


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_published(value: float) -> None:
    workers = [WorkerFamilies("0", alive=True, families=families(gauge(value, "max")))]
    assert values(aggregate(workers)) == {("level",): value}


# Metrics that cannot be aggregated.


class Custom(Collector):
    """A collector that a service defines."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("custom", "Custom.", 5)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda registry: Info("build", "Build.", registry=registry), "build has the type Info"),
        (
            lambda registry: Enum("state", "State.", states=["a", "b"], registry=registry),
            "state has the type Enum",
        ),
        (lambda registry: registry.register(Custom()), "Custom has the type Custom"),
        (gauge(1, "mostrecent"), "level has the multiprocess_mode mostrecent"),
        (gauge(1, "livemostrecent"), "level has the multiprocess_mode mostrecent"),
    ],
)
def test_a_metric_that_cannot_be_aggregated_is_a_startup_error(
    make: Callable[[CollectorRegistry], object], problem: str
) -> None:
    registry = CollectorRegistry()
    make(registry)
    with pytest.raises(StartupError, match=f"{problem}.*SERVING_WORKERS=1") as caught:
        check_can_be_shared(registry)
    assert str(caught.value).isprintable()
    assert families_of_this_process(registry) == []


def test_metrics_that_can_be_aggregated_pass_the_check() -> None:
    registry = CollectorRegistry()
    count(1)(registry)
    gauge(1, "all")(registry)
    check_can_be_shared(registry)


# One process.


def test_one_process_shows_every_metric_without_the_time_of_its_creation() -> None:
    registry = CollectorRegistry()
    count(1)(registry)
    gauge(3, "mostrecent")(registry)
    Info("build", "Build.", registry=registry).info({"commit": "abc"})
    registry.register(Custom())
    assert values(metrics_of_this_process(registry)) == expected_counts(1) | {
        ("level",): 3,
        ("build_info", "abc"): 1,
        ("custom",): 5,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="prometheus_client reads /proc")
def test_processor_time_of_workers_is_added_up_and_memory_is_that_of_each() -> None:
    def of_the_process(registry: CollectorRegistry) -> None:
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
            registry.register(collector)

    found = [WorkerFamilies(str(number), True, families(of_the_process)) for number in range(2)]
    totals = values(aggregate(found))
    seconds = [
        value
        for worker in found
        for family in worker.families
        for name, _, value in family["samples"]
        if name == "process_cpu_seconds_total"
    ]
    assert totals["process_cpu_seconds_total",] == sum(seconds) > 0
    for name in ("process_resident_memory_bytes", "process_open_fds"):
        assert totals[name, "0"] > 0
        assert totals[name, "1"] > 0
    assert sum(name == "python_info" for name, *_ in totals) == 1
    assert any(name == "python_gc_collections_total" for name, *_ in totals)


# In /metrics.


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A registry that `Metrics` reads instead of the global one."""
    registry = CollectorRegistry()
    for function in (check_can_be_shared, families_of_this_process, metrics_of_this_process):
        monkeypatch.setattr(metrics_module, function.__name__, partial(function, registry))
    return registry


def worker_metrics(scoreboard: Scoreboard, number: int) -> Metrics:
    """The metrics of a worker that has just become ready."""
    slot = scoreboard.slots[number]
    slot.state = State.READY
    metrics = Metrics()
    metrics.share(SharedMetrics(scoreboard, slot))
    return metrics


def test_one_process_has_the_metrics_of_the_owner_in_its_exposition(
    registry: CollectorRegistry,
) -> None:
    Counter("orders", "Orders.", registry=registry).inc(3)
    exposition = samples(Metrics().render().decode())
    assert exposition["orders_total",] == 3
    assert exposition["serving_workers",] == 1


def test_any_worker_has_the_metrics_of_all_workers_in_its_exposition(
    registry: CollectorRegistry,
) -> None:
    """The workers of this test share one registry: each has the same values."""
    Counter("orders", "Orders.", registry=registry).inc(3)
    Gauge("level", "Level.", registry=registry).set(math.inf)
    scoreboard = Scoreboard(2)
    workers = [worker_metrics(scoreboard, number) for number in range(2)]
    for worker in workers:
        worker.publish()
    for worker in workers:
        exposition = samples(worker.render().decode())
        assert exposition["orders_total",] == 6
        assert exposition["level", "0"] == exposition["level", "1"] == math.inf


def test_the_counts_of_every_predecessor_in_a_slot_are_in_the_exposition(
    registry: CollectorRegistry,
) -> None:
    Counter("orders", "Orders.", registry=registry).inc(3)
    scoreboard = Scoreboard(1)
    totals = []
    for _ in range(3):
        worker = worker_metrics(scoreboard, 0)
        totals.append(samples(worker.render().decode())["orders_total",])
    assert totals == [3, 6, 9]


def test_sharing_a_metric_that_cannot_be_aggregated_is_a_startup_error(
    registry: CollectorRegistry,
) -> None:
    Info("build", "Build.", registry=registry)
    with pytest.raises(StartupError, match="build has the type Info"):
        worker_metrics(Scoreboard(1), 0)
