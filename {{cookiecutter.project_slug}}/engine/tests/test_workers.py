"""Several workers that share one model, in real processes; most tests use one service."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving_engine.model_files.manifest import Manifest

from . import corruptions
from .models import example_row
from .service import Clients, Service, run, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux")

WORKERS = 2
PREDICTED = ("serving_requests_total", "native", "/predict", "200")


@pytest.fixture(scope="module")
def service(own_model: Path) -> Iterator[Service]:
    """Tests may kill its workers and reload its model, but leave it serving."""
    with Service(own_model, "--workers", str(WORKERS)) as service:
        yield service


@pytest.fixture
def body(manifest: Manifest) -> dict[str, Any]:
    return {"instances": [example_row(manifest)]}


def predict(service: Service, body: dict[str, Any], count: int) -> list[httpx2.Response]:
    """Send requests over new connections, so that any worker may get them.

    Returns the responses when every worker counts them: the last scrapes are served by any worker.
    """
    before = service.scrape().get(PREDICTED, 0)
    responses = [service.request("POST", "/predict", json=body) for _ in range(count)]
    for _ in range(10):
        wait_until(lambda: service.scrape()[PREDICTED] == before + count, 2)
    return responses


def workers(service: Service) -> list[int]:
    return [pid for number in range(WORKERS) for pid in service.processes(f"worker {number}")]


def test_every_worker_serves_and_reports_the_counts_of_all(
    service: Service, body: dict[str, Any]
) -> None:
    assert {response.status_code for response in predict(service, body, 20)} == {200}
    assert service.scrape()["serving_workers",] == WORKERS


def test_a_killed_worker_is_replaced_and_its_counts_stay(
    service: Service, body: dict[str, Any]
) -> None:
    predict(service, body, 10)
    before = service.scrape()
    (loader,) = service.processes("loader")
    (killed,) = service.processes("worker 1")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: service.processes("worker 1") not in ([], [killed]), 5)
    wait_until(lambda: service.scrape()["serving_workers",] == WORKERS, 5)
    assert service.processes("loader") == [loader], "the model was loaded again"
    after = service.scrape()
    assert after["serving_worker_restarts_total",] == before["serving_worker_restarts_total",] + 1
    assert after[PREDICTED] == before[PREDICTED]
    assert {response.status_code for response in predict(service, body, 10)} == {200}


def test_a_reload_replaces_every_worker_and_a_failed_one_none(
    service: Service, own_model: Path, manifest: Manifest, body: dict[str, Any]
) -> None:
    before = service.scrape()
    old = workers(service)
    corruptions.manifest(version="2nd")(own_model)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_line("reloaded: ")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in old), 10)
    new = workers(service)
    assert len(service.processes("loader")) == 1
    corruptions.manifest(schema_version=99)(own_model)
    service.process.send_signal(signal.SIGHUP)
    assert "schema_version 99" in service.wait_for_line("2nd stays: ")
    ok = ("serving_reloads_total", "ok")
    failed = ("serving_reloads_total", "failed")
    wait_until(lambda: service.scrape()[failed] == before.get(failed, 0) + 1, 5)
    assert workers(service) == new
    versions = [response.json()["model"]["version"] for response in predict(service, body, 10)]
    assert versions == ["2nd"] * 10
    after = service.scrape()
    assert after[ok] == before.get(ok, 0) + 1
    assert after["serving_workers",] == WORKERS
    assert after["serving_model_info", manifest.name, "2nd"] == 1


def test_every_process_gets_the_signal_and_the_service_drains_once(
    model_dir: Path, body: dict[str, Any]
) -> None:
    """A kill of the whole group, as a shell's Ctrl-C and systemd's stop are."""
    with Service(model_dir, "--workers", str(WORKERS), drain_delay=0.5) as service:
        clients = Clients(service, body)
        wait_until(lambda: len(clients.statuses) > 20)
        os.killpg(service.process.pid, signal.SIGTERM)
        clients.join()
        assert set(clients.statuses) == {200}
        assert service.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))
        assert not workers(service)


def test_a_failed_start_ends_with_code_3_and_one_line(tmp_path: Path) -> None:
    ended = run("serve", "--workers", "3", SERVING_MODEL_DIR=tmp_path, SERVING_PORT=0)
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert "model missing" in line
