"""The record and the shadow model in real processes: workers, kills, a full disk."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_engine.model_files.manifest import Manifest

from . import corruptions
from .models import example_row
from .service import Service, run, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers and limits as on Linux")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed") / "record"


@pytest.fixture(scope="module")
def shadow(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = Path(shutil.copytree(model_dir, tmp_path_factory.mktemp("shadow") / "model"))
    corruptions.manifest(version="2")(copy)
    return copy


@pytest.fixture(scope="module")
def service(model_dir: Path, record: Path, shadow: Path) -> Iterator[Service]:
    """Two workers with a record and a shadow model."""
    settings = {"record_dir": record, "record_rows_per_second": 100_000, "drain_delay": 0}
    with Service(
        model_dir, "--workers", "2", shadow_model_dir=shadow, shadow_queued_rows=10_000, **settings
    ) as service:
        yield service


@pytest.fixture
def body(manifest: Manifest) -> dict[str, Any]:
    return {"instances": [example_row(manifest)] * 100}


def rows_in(record: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in record.glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def test_workers_share_the_shadow_of_the_loader(service: Service, body: dict[str, Any]) -> None:
    assert sum("shadow model test 2 sees the same rows" in line for line in service.lines) == 1
    wait_until(lambda: service.scrape().get(("serving_shadow_loads_total", "ok")) == 2)
    assert service.request("POST", "/predict", json=body).json()["model"]["version"] == "1"
    wait_until(lambda: service.scrape().get(("serving_shadow_rows_total", "agreed")) == 100)


def test_every_worker_writes_its_own_file_and_a_kill_leaves_complete_lines(
    service: Service, body: dict[str, Any], record: Path
) -> None:
    def request() -> bool:
        return service.request("POST", "/predict", json=body).status_code == 200

    wait_until(lambda: request() and len(list(record.iterdir())) == 2)
    wait_until(lambda: request() and len(rows_in(record)) > 1000)
    for worker in ("worker 0", "worker 1"):
        os.kill(*service.processes(worker), signal.SIGKILL)
    wait_until(lambda: service.scrape()["serving_worker_restarts_total",] == 2)
    rows = rows_in(record)
    assert len(rows) > 1000
    assert {row.get("shadow", {}).get("version") for row in rows} <= {"2", None}


def test_a_shadow_that_cannot_be_loaded_does_not_keep_the_model_from_its_reload(
    service: Service, shadow: Path, body: dict[str, Any]
) -> None:
    corruptions.manifest(schema_version=99)(shadow)
    service.process.send_signal(signal.SIGHUP)
    assert "schema_version 99" in service.wait_for_line("is not used")
    service.wait_for_line("reloaded: ")
    assert service.request("POST", "/predict", json=body).status_code == 200


def test_a_full_disk_stops_the_record_once_and_fails_no_request(
    model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    """A limit on the size of files gives the error that a full disk gives."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    record = tmp_path / "record"
    with Service(
        model_dir, patches=limit, record_dir=record, record_rows_per_second=10_000
    ) as service:
        row = example_row(manifest)
        stopped = ("serving_record_dropped_total", "stopped")
        while not service.scrape().get(stopped):
            assert service.predict([row] * 5).status_code == 200
        before = service.scrape()[stopped]
        assert service.predict([row] * 5).status_code == 200
        wait_until(lambda: service.scrape()[stopped] == before + 5)
        assert service.scrape()["serving_recorded_rows_total",] == len(rows_in(record)) > 0
        assert service.stop(signal.SIGINT) == 0
    lines = [line for line in service.lines if "record of requests stops" in line]
    assert len(lines) == 1
    assert "cannot write" in lines[0]


def test_a_column_that_the_model_does_not_have_ends_the_start_of_workers(
    model_dir: Path, tmp_path: Path
) -> None:
    ended = run(
        "serve",
        "--workers=2",
        SERVING_MODEL_DIR=model_dir,
        SERVING_PORT=0,
        SERVING_RECORD_DIR=tmp_path,
        SERVING_RECORD_WITHOUT="nope",
    )
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert "SERVING_RECORD_WITHOUT: the model has no column 'nope'" in line
