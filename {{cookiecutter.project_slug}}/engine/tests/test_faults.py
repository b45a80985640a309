"""Queue limits, deadlines, disconnects and the drain timeout, of a real service whose model waits
as long as a file exists."""

import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_engine.model_files.manifest import Manifest

from .models import example_row
from .service import PATIENCE, Service, wait_until

GATED_MODEL = """
import dataclasses, os, sys, time
from serving_engine import application

load_model = application.load_model
closed = sys.argv[1]

def load_gated(*arguments):
    loaded = load_model(*arguments)

    def predict(rows):
        while os.path.exists(closed):
            time.sleep(0.005)
        return loaded.predict(rows)

    return dataclasses.replace(loaded, predict=predict)

application.load_model = load_gated
"""


GATED_CALLS = """
import os, sys, time
from serving_engine.blas_threads import limit_threads_of_imports

limit_threads_of_imports()
from serving_engine.inference.batcher import Batcher

call_model = Batcher._call_model
closed = sys.argv[1]

def call_gated(*arguments):
    while os.path.exists(closed):
        time.sleep(0.005)
    return call_model(*arguments)

Batcher._call_model = call_gated
"""
"""The same in a worker, which is forked from the process that loaded the model."""


class GatedService(Service):
    """A service whose model waits between `hold` and `release`."""

    def __init__(
        self, model_dir: Path, closed: Path, patches: str = GATED_MODEL, **settings: object
    ) -> None:
        super().__init__(
            model_dir, str(closed), patches=patches, inline_seconds=0, drain_delay=0, **settings
        )
        self._closed = closed

    def hold(self) -> None:
        self._closed.touch()

    def release(self) -> None:
        self._closed.unlink(missing_ok=True)

    def metric(self, *name_and_labels: str) -> float:
        return self.scrape()[name_and_labels]


@pytest.fixture(scope="module")
def gated(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedService]:
    closed = tmp_path_factory.mktemp("gate") / "closed"
    limits = {"max_queued_requests": 3, "max_queued_rows": 20, "max_rows": 100}
    with GatedService(model_dir, closed, request_timeout=30, **limits) as service:
        yield service


@pytest.fixture
def service(gated: GatedService) -> Iterator[GatedService]:
    """The service, whose model waits; afterwards it is released, and all requests are finished."""
    gated.hold()
    yield gated
    gated.release()
    wait_until(lambda: gated.metric("serving_queued_rows") == 0)
    wait_until(lambda: gated.metric("serving_in_flight") == 1)  # the scrape itself


class Caller(threading.Thread):
    """A client that sends a request in the background; `response` is set after `join`."""

    def __init__(self, service: Service, rows: list[object]) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._body = {"instances": rows}
        self.start()

    def run(self) -> None:
        self.response = self._service.request("POST", "/predict", json=self._body)


def occupy(service: GatedService, row: object, waiting: int) -> list[Caller]:
    """Occupy the model with one request, and queue `waiting` others."""
    started = service.metric("serving_queue_seconds_count")
    callers = [Caller(service, [row])]
    wait_until(lambda: service.metric("serving_queue_seconds_count") > started)
    callers += [Caller(service, [row]) for _ in range(waiting)]
    wait_until(lambda: service.metric("serving_queued_rows") == waiting)
    return callers


def finish(service: GatedService, callers: list[Caller]) -> None:
    """Release the model; all callers get their predictions."""
    service.release()
    for caller in callers:
        caller.join(PATIENCE)
        assert caller.response.status_code == 200


def test_a_request_over_the_queue_limit_is_rejected_at_once_and_probes_are_served(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=3)
    started = time.monotonic()
    rejected = service.predict([row])
    assert rejected.status_code == 503
    assert 1 <= int(rejected.headers["retry-after"]) <= 3
    assert rejected.json()["title"] == "Too busy"
    assert service.get("/livez").status_code == service.get("/readyz").status_code == 200
    assert time.monotonic() - started < 1
    assert service.metric("serving_refused_total", "queue-full") >= 1
    finish(service, callers)


def test_a_queue_of_too_many_rows_is_full_too(service: GatedService, manifest: Manifest) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=1)
    assert service.predict([row] * 20).status_code == 503
    finish(service, callers)


def test_a_deadline_passes_for_the_client_and_for_work_that_waited(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=0)
    predicted = service.metric("serving_batch_rows_sum")
    late = service.predict([row], headers={"X-Request-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert late.json()["title"] == "Deadline passed"
    finish(service, callers)
    assert service.predict([row]).status_code == 200
    # The first row and the last: the model was not called for the one that expired.
    assert service.metric("serving_batch_rows_sum") == predicted + 2


def test_a_client_that_leaves_costs_no_prediction(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=0)
    predicted = service.metric("serving_batch_rows_sum")
    cancelled = service.metric("serving_cancelled_total")
    body = json.dumps({"instances": [row]}).encode()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        wait_until(lambda: service.metric("serving_queued_rows") == 1)
    wait_until(lambda: service.metric("serving_in_flight") == 2)
    assert service.metric("serving_cancelled_total") == cancelled + 1
    finish(service, callers)
    assert service.predict([row]).status_code == 200
    assert service.metric("serving_batch_rows_sum") == predicted + 2


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
def test_a_worker_whose_model_is_stuck_is_replaced(
    model_dir: Path, tmp_path: Path, manifest: Manifest
) -> None:
    timeouts = {"request_timeout": 0.5, "stuck_timeout": 0.5, "hang_timeout": 1}
    closed = tmp_path / "closed"
    with GatedService(model_dir, closed, GATED_CALLS, workers=2, **timeouts) as service:
        row = example_row(manifest)
        service.hold()
        assert service.request("POST", "/predict", json={"instances": [row]}).status_code == 504
        service.wait_for_line("is stuck")
        service.wait_for_line("hangs: killing it")
        service.release()
        wait_until(lambda: service.metric("serving_worker_restarts_total") == 1)
        wait_until(lambda: service.metric("serving_workers") == 2)
        for _ in range(4):
            answer = service.request("POST", "/predict", json={"instances": [row]})
            assert answer.status_code == 200


def test_a_drain_timeout_cancels_requests_and_is_logged(
    model_dir: Path, tmp_path: Path, manifest: Manifest
) -> None:
    with GatedService(model_dir, tmp_path / "closed", drain_timeout=0.2) as service:
        service.hold()
        (caller,) = occupy(service, example_row(manifest), waiting=0)
        started = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        caller.join(PATIENCE)
        assert caller.response.status_code == 503
        assert any("drain timeout" in line for line in service.lines)
        assert any("POST /predict 503" in line for line in service.lines)
