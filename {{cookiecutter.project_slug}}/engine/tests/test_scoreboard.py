"""Metrics of several workers in shared memory, tested in one process."""

import pytest
from serving_engine.process.scoreboard import Scoreboard, SharedMetrics, State
from serving_engine.telemetry.metrics import Metrics

from .service import samples


def worker_metrics(scoreboard: Scoreboard, number: int) -> Metrics:
    """The metrics of a worker that has just started."""
    slot = scoreboard.slots[number]
    slot.state = State.READY
    metrics = Metrics()
    metrics.share(SharedMetrics(scoreboard, slot))
    return metrics


def test_a_worker_adds_up_the_snapshots_of_all_workers() -> None:
    scoreboard = Scoreboard(4)
    first = worker_metrics(scoreboard, 1)
    second = worker_metrics(scoreboard, 2)
    for worker, seconds in ((first, 0.5), (second, 2.0), (second, 2.0)):
        worker.request_started()
        worker.request_done("/predict", 200, seconds)
        worker.refused("queue-full")
    first.request_started()
    second.publish()
    totals = samples(first.render().decode())
    assert totals["serving_requests_total", "native", "/predict", "200"] == 3
    assert totals["serving_request_seconds_sum", "native", "/predict", "200"] == 4.5
    assert totals["serving_request_seconds_bucket", "0.5", "native", "/predict", "200"] == 1
    assert totals["serving_refused_total", "queue-full"] == 3
    assert totals["serving_in_flight",] == 1
    assert totals["serving_workers",] == 2


def test_counters_of_a_dead_worker_stay_and_its_gauges_do_not() -> None:
    scoreboard = Scoreboard(3)
    dead = worker_metrics(scoreboard, 1)
    other = worker_metrics(scoreboard, 2)
    dead.expired = 7
    dead.in_flight = 5
    dead.publish()
    scoreboard.slots[1].state = State.EMPTY
    totals = samples(other.render().decode())
    assert (totals["serving_expired_total",], totals["serving_in_flight",]) == (7, 0)
    successor = worker_metrics(scoreboard, 1)
    successor.expired = 2
    for worker in (successor, other):
        totals = samples(worker.render().decode())
        assert (totals["serving_expired_total",], totals["serving_in_flight",]) == (9, 0)


def test_a_worker_that_is_killed_while_it_publishes_leaves_the_previous_snapshot() -> None:
    slot = Scoreboard(1).slots[0]
    slot.publish(b"first")
    slot.publish(b"second")
    slot._copy(slot._published + 1)[:16] = b"half-written....".ljust(16)
    assert slot.snapshot() == b"second"


def test_a_snapshot_that_is_too_long_for_a_slot_is_rejected() -> None:
    slot = Scoreboard(1).slots[0]
    slot.publish(b"small")
    with pytest.raises(ValueError, match="more than a slot holds"):
        slot.publish(bytes(2**20))
    assert slot.snapshot() == b"small"


def test_a_route_of_another_protocol_has_its_label() -> None:
    metrics = Metrics()
    metrics.protocols["/other/ready"] = "other"
    for route in ("/other/ready", "/predict"):
        metrics.request_started()
        metrics.request_done(route, 200, 0.1)
    counts = samples(metrics.render().decode())
    assert counts["serving_requests_total", "other", "/other/ready", "200"] == 1
    assert counts["serving_requests_total", "native", "/predict", "200"] == 1
