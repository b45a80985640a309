"""Several workers that share one model: in real processes, one service for most tests."""

import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest

from . import spoiled
from .models import example_row
from .service import Service, run, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux")

WORKERS = 2
PREDICTED = ("serving_requests_total", "native", "/predict", "2xx")


@pytest.fixture(scope="module")
def own_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model that tests may replace."""
    return Path(shutil.copytree(model_dir, tmp_path_factory.mktemp("own") / "model"))


@pytest.fixture(scope="module")
def service(own_model: Path) -> Iterator[Service]:
    with Service(own_model, "--workers", str(WORKERS), drain_delay=0.5) as service:
        yield service


def predict(service: Service, manifest: Manifest) -> httpx2.Response:
    """Over a connection of its own, so that any worker may answer."""
    body = {"instances": [example_row(manifest)]}
    return service.ask("POST", "/predict", json=body)


def test_any_worker_answers_and_any_worker_knows_what_all_have_counted(
    service: Service, manifest: Manifest
) -> None:
    for _ in range(20):
        assert predict(service, manifest).status_code == 200
    for _ in range(4):  # each time perhaps another one
        wait_until(lambda: service.scrape()[PREDICTED] == 20, 2)
    assert service.scrape()["serving_workers",] == WORKERS


def test_a_killed_worker_is_replaced_and_what_it_counted_stays(
    service: Service, manifest: Manifest
) -> None:
    before = service.scrape()
    (loader,) = service.processes("loader")
    (killed,) = service.processes("worker 1")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: service.processes("worker 1") not in ([], [killed]), 5)
    wait_until(lambda: service.scrape()["serving_workers",] == WORKERS, 5)
    assert service.processes("loader") == [loader], "something was loaded"
    after = service.scrape()
    assert after["serving_worker_restarts_total",] == before["serving_worker_restarts_total",] + 1
    assert after[PREDICTED] == before[PREDICTED]
    assert all(predict(service, manifest).status_code == 200 for _ in range(10))
    wait_until(lambda: service.scrape()[PREDICTED] == before[PREDICTED] + 10, 2)


def test_a_reload_replaces_every_worker_and_a_bad_model_none(
    service: Service, own_model: Path, manifest: Manifest
) -> None:
    before = service.scrape()
    old = [pid for n in range(WORKERS) for pid in service.processes(f"worker {n}")]
    spoiled.manifest(version="2nd")(own_model)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_line("reloaded: ")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in old), 10)
    versions = {predict(service, manifest).json()["model"]["version"] for _ in range(10)}
    assert versions == {"2nd"}
    assert len(service.processes("loader")) == 1
    spoiled.manifest(schema_version=99)(own_model)
    service.process.send_signal(signal.SIGHUP)
    assert "schema_version 99" in service.wait_for_line("2nd stays: ")
    wait_until(lambda: service.scrape()["serving_reloads_total", "failed"] == 1, 5)
    wait_until(lambda: service.scrape()[PREDICTED] == before[PREDICTED] + 10, 2)
    after = service.scrape()
    assert after["serving_reloads_total", "ok"] == 1
    assert after["serving_workers",] == WORKERS
    assert after["serving_model_info", manifest.name, "2nd"] == 1
    assert predict(service, manifest).json()["model"]["version"] == "2nd"


def test_every_process_gets_the_signal_and_the_service_drains_once(
    service: Service, manifest: Manifest
) -> None:
    """A kill of the whole group, as a shell's Ctrl-C and systemd's stop are."""
    body = {"instances": [example_row(manifest)]}
    statuses: list[int] = []

    def client() -> None:
        while service.ask("GET", "/readyz").status_code == 200:
            statuses.append(service.ask("POST", "/predict", json=body).status_code)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    wait_until(lambda: len(statuses) > 20)
    os.killpg(service.process.pid, signal.SIGTERM)
    for thread in clients:
        thread.join(5)
    assert set(statuses) == {200}
    assert service.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", service.port))
    assert not service.processes("worker 0")


def test_a_failed_start_ends_with_code_3_and_one_line(tmp_path: Path) -> None:
    ended = run("serve", "--workers", "3", SERVING_MODEL_DIR=tmp_path, SERVING_PORT=0)
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert "model missing" in line
