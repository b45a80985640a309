"""What clients see when the model is busy, when they leave, and when the service has to end: a
real service whose model waits for as long as a file is there."""

import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest

from .models import example_row
from .service import PATIENCE, Service

GATED_MODEL = f"""
import dataclasses, os, sys, time
from {package.__name__} import app, cli
load, closed = app.load_model, sys.argv.pop()
def load_gated(*arguments):
    loaded = load(*arguments)
    def predict(rows):
        while os.path.exists(closed):
            time.sleep(0.005)
        return loaded.predict(rows)
    return dataclasses.replace(loaded, predict=predict)
app.load_model = load_gated
cli.main(["serve"])
"""


class GatedService(Service):
    """A service whose model can be held up: `service.hold()`, `service.release()`."""

    def __init__(self, model_dir: Path, closed: Path, **settings: object) -> None:
        super().__init__(model_dir, inline_seconds=0, drain_delay=0, **settings)
        self._command = [sys.executable, "-c", GATED_MODEL, str(closed)]
        self.hold, self.release = closed.touch, lambda: closed.unlink(missing_ok=True)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


@pytest.fixture(scope="module")
def busy(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedService]:
    closed = tmp_path_factory.mktemp("gate") / "closed"
    limits = {"max_queued_requests": 3, "max_queued_rows": 20, "max_rows": 100}
    with GatedService(model_dir, closed, request_timeout=30, **limits) as service:
        yield service


@pytest.fixture
def service(busy: GatedService) -> Iterator[GatedService]:
    """The model is held up; everything is answered and counted back to zero afterwards."""
    busy.hold()
    yield busy
    busy.release()
    busy.wait_until(lambda: busy.metric("serving_queued_rows") == 0)
    busy.wait_until(lambda: busy.metric("serving_in_flight") == 1)  # the scrape itself


class Caller(threading.Thread):
    """A client that asks for some rows in the background; `answer` is there after `join`."""

    def __init__(self, service: Service, rows: list[object]) -> None:
        super().__init__(daemon=True)
        self._service, self._rows = service, rows
        self.start()

    def run(self) -> None:
        body = {"instances": self._rows}
        self.answer = self._service.ask("POST", "/predict", json=body)


def occupy(service: GatedService, row: object, waiting: int) -> list[Caller]:
    """One request in the model, and so many that wait."""
    taken = service.metric("serving_queue_seconds_count")
    callers = [Caller(service, [row])]
    service.wait_until(lambda: service.metric("serving_queue_seconds_count") > taken)
    callers += [Caller(service, [row]) for _ in range(waiting)]
    service.wait_until(lambda: service.metric("serving_queued_rows") == waiting)
    return callers


def test_over_the_queue_a_request_is_refused_at_once_and_probes_are_answered(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=3)
    started = time.monotonic()
    refused = service.predict([row])
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert refused.json()["title"] == "Too busy"
    assert service.get("/livez").status_code == service.get("/readyz").status_code == 200
    assert time.monotonic() - started < 1
    assert service.metric(r'serving_refused_total\{reason="queue-full"\}') == 1
    service.release()
    for caller in callers:
        caller.join(PATIENCE)
        assert caller.answer.status_code == 200


def test_a_queue_of_too_many_rows_is_full_too(service: GatedService, manifest: Manifest) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=1)
    assert service.predict([row] * 20).status_code == 503
    service.release()
    for caller in callers:
        caller.join(PATIENCE)
        assert caller.answer.status_code == 200


def test_a_deadline_passes_for_the_client_and_for_work_that_waited(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=0)
    predicted = service.metric("serving_batch_rows_sum")
    late = service.predict([row], headers={"X-Request-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert late.json()["title"] == "Deadline passed"
    service.release()
    callers[0].join(PATIENCE)
    assert service.predict([row]).status_code == 200
    # The one that was in the model, and the last: what expired was never predicted.
    assert service.metric("serving_batch_rows_sum") == predicted + 2


def test_a_client_that_leaves_costs_no_prediction(
    service: GatedService, manifest: Manifest
) -> None:
    row = example_row(manifest)
    callers = occupy(service, row, waiting=0)
    predicted, left = (
        service.metric("serving_batch_rows_sum"),
        service.metric("serving_cancelled_total"),
    )
    body = json.dumps({"instances": [row]}).encode()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        service.wait_until(lambda: service.metric("serving_queued_rows") == 1)
    service.wait_until(lambda: service.metric("serving_in_flight") == 2)
    assert service.metric("serving_cancelled_total") == left + 1
    service.release()
    callers[0].join(PATIENCE)
    assert service.predict([row]).status_code == 200
    assert service.metric("serving_batch_rows_sum") == predicted + 2


def test_work_beyond_the_grace_period_is_cut_with_a_line(
    model_dir: Path, tmp_path: Path, manifest: Manifest
) -> None:
    with GatedService(model_dir, tmp_path / "closed", drain_timeout=0.2) as service:
        service.hold()
        (caller,) = occupy(service, example_row(manifest), waiting=0)
        started = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        caller.join(PATIENCE)
        assert caller.answer.status_code == 503
        assert any("cut off" in line for line in service.lines)
        assert any("POST /predict 503" in line for line in service.lines)
