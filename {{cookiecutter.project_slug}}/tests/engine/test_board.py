"""What workers tell each other in shared memory, without the processes."""

import pytest

from {{ cookiecutter.__package_name }}.serving.board import Board, SharedCounts, State
from {{ cookiecutter.__package_name }}.telemetry.metrics import Metrics

from .service import samples


def metrics(board: Board, number: int) -> Metrics:
    """Those of a worker that has just begun."""
    place = board.places[number]
    place.state = State.READY
    found = Metrics()
    found.share(SharedCounts(board, place))
    return found


def test_whoever_is_asked_adds_up_what_all_have_published() -> None:
    board = Board(4)
    first, second = metrics(board, 1), metrics(board, 2)
    for worker, seconds in ((first, 0.5), (second, 2.0), (second, 2.0)):
        worker.request_started()
        worker.request_done("/predict", 200, seconds)
        worker.refused("queue-full")
    first.request_started()
    second.publish()
    found = samples(first.render().decode())
    assert found["serving_requests_total", "native", "/predict", "2xx"] == 3
    assert found["serving_request_seconds_sum", "native", "/predict", "2xx"] == 4.5
    assert found["serving_request_seconds_bucket", "0.5", "native", "/predict", "2xx"] == 1
    assert found["serving_refused_total", "queue-full"] == 3
    assert found["serving_in_flight",] == 1
    assert found["serving_workers",] == 2


def test_counts_of_a_dead_worker_stay_and_what_it_held_does_not() -> None:
    board = Board(3)
    dead, other = metrics(board, 1), metrics(board, 2)
    dead.expired = 7
    dead.in_flight = 5
    dead.publish()
    board.places[1].state = State.EMPTY
    found = samples(other.render().decode())
    assert (found["serving_expired_total",], found["serving_in_flight",]) == (7, 0)
    successor = metrics(board, 1)
    successor.expired = 2
    for worker in (successor, other):
        found = samples(worker.render().decode())
        assert (found["serving_expired_total",], found["serving_in_flight",]) == (9, 0)


def test_a_worker_that_is_killed_while_it_publishes_spoils_nothing() -> None:
    place = Board(1).places[0]
    place.publish(b"first")
    place.publish(b"second")
    place._copy(place._published + 1)[:16] = b"half-written....".ljust(16)
    assert place.snapshot() == b"second"


def test_more_than_a_place_holds_is_refused() -> None:
    place = Board(1).places[0]
    place.publish(b"small")
    with pytest.raises(ValueError, match="more than a place holds"):
        place.publish(bytes(2**20))
    assert place.snapshot() == b"small"


def test_a_route_of_another_protocol_has_its_label() -> None:
    found = Metrics()
    found.protocols["/other/ready"] = "other"
    for route in ("/other/ready", "/predict"):
        found.request_started()
        found.request_done(route, 200, 0.1)
    read = samples(found.render().decode())
    assert read["serving_requests_total", "other", "/other/ready", "2xx"] == 1
    assert read["serving_requests_total", "native", "/predict", "2xx"] == 1
