"""The record of requests: what is written, its bounds, and that it never harms a request."""

import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import UsageError
from serving_engine.inference.observers.record_files import JSONLinesWriter, RecordDirectory
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import Service, run, samples, wait_until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of a process as on Linux")


def rows_in(directory: Path) -> list[dict[str, Any]]:
    """The rows of every file, in the order of the files' names."""
    return [
        json.loads(line)
        for path in sorted(directory.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def metric(client: TestClient, *key: str) -> float:
    return samples(client.get("/metrics").text).get(key, 0)


@pytest.fixture
def recording(settings: Settings, loaded: LoadedModel, tmp_path: Path) -> Callable[..., TestClient]:
    """Make a client of a service that records into `tmp_path / "record"`."""

    def client(**changes: Any) -> TestClient:
        values = {**settings.model_dump(), "record_dir": tmp_path / "record", **changes}
        return TestClient(create_app(Settings(**values), loaded))

    return client


def predict(client: TestClient, instances: list[Any], **headers: str) -> Any:
    response = client.post("/predict", json={"instances": instances}, headers=headers)
    assert response.status_code == 200
    return response.json()["predictions"]


def test_every_row_is_recorded_with_its_answer_and_by_whom_it_was_made(
    recording: Callable[..., TestClient], manifest: Manifest, tmp_path: Path
) -> None:
    example = manifest.examples[0].input
    with recording() as client:
        answers = predict(client, [example, example], **{"X-Request-ID": "id-1"})
    first, second = rows_in(tmp_path / "record")
    assert (first["request_id"], first["row"], second["row"]) == ("id-1", 0, 1)
    assert (first["model"], first["version"]) == (manifest.name, manifest.version)
    assert first["input"] == example
    assert [first["output"], second["output"]] == answers
    assert first["time"].endswith("+00:00")


def test_only_the_owner_may_read_the_record(
    recording: Callable[..., TestClient], manifest: Manifest, tmp_path: Path
) -> None:
    with recording() as client:
        predict(client, [example_row(manifest)])
    folder = tmp_path / "record"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_columns_are_left_out_or_hashed_with_a_key(
    recording: Callable[..., TestClient], manifest: Manifest, tmp_path: Path
) -> None:
    left_out, hashed, *kept = manifest.signature.columns
    options = {"record_without": [left_out], "record_hashed": [hashed]}
    key = "0123456789abcdef"
    with recording(**options, record_hash_key=key) as client:
        predict(client, [example_row(manifest), example_row(manifest)])
    with recording(**options, record_hash_key=key[::-1]) as client:
        predict(client, [example_row(manifest)])
    one, other, third = (row["input"] for row in rows_in(tmp_path / "record"))
    assert list(one) == [hashed, *kept]
    assert len(one[hashed]) == 32
    assert one[hashed] == other[hashed]
    assert one[hashed] != third[hashed], "another key"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"record_without": ["nope"]}, "has no column 'nope'"),
        ({"record_hashed": ["sepal_length"]}, "needs SERVING_RECORD_HASH_KEY"),
    ],
)
def test_a_setting_that_would_record_what_it_should_not_ends_the_start(
    recording: Callable[..., TestClient], changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem), recording(**changes):
        pass


def test_a_share_of_the_requests_is_recorded_and_no_more_rows_than_the_limit(
    recording: Callable[..., TestClient], manifest: Manifest, tmp_path: Path
) -> None:
    with recording(record_sample=0) as client:
        predict(client, [example_row(manifest)])
    assert not rows_in(tmp_path / "record")
    with recording(record_rows_per_second=3) as client:
        predict(client, [example_row(manifest)] * 50)
        assert metric(client, "serving_record_dropped_total", "rate") == 47
    assert [row["row"] for row in rows_in(tmp_path / "record")] == [0, 1, 2]


def write(directory: Path, numbers: range, files: int = 3) -> None:
    """Write rows of 11 bytes as a service does between its start and its end."""
    writer = JSONLinesWriter(RecordDirectory(directory, files), 1024)
    for number in numbers:
        writer.write([{"n": 1000 + number}])
    writer.close()


def test_the_oldest_files_are_deleted_and_a_restart_goes_on(tmp_path: Path) -> None:
    write(tmp_path, range(93 * 4))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1024
    write(tmp_path, range(93 * 4, 93 * 4 + 10))
    write(tmp_path, range(93 * 4 + 10, 93 * 4 + 20))
    assert len(list(tmp_path.iterdir())) == 3, "a restart begins no file while one has room"
    assert [row["n"] for row in rows_in(tmp_path)][-20:] == list(range(1372, 1392))


def test_what_a_kill_left_of_a_line_is_removed(tmp_path: Path) -> None:
    write(tmp_path, range(2))
    (file,) = tmp_path.iterdir()
    with file.open("a") as opened:
        opened.write('{"n": 10')
    write(tmp_path, range(2, 3))
    assert [row["n"] for row in rows_in(tmp_path)] == [1000, 1001, 1002]


@LINUX
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


@LINUX
def test_every_worker_writes_its_own_file_and_a_kill_leaves_complete_lines(
    model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    record = tmp_path / "record"
    settings = {"record_dir": record, "record_rows_per_second": 100_000}
    with Service(model_dir, "--workers", "2", **settings) as service:
        body = {"instances": [example_row(manifest)] * 100}
        while len(list(record.glob("*.jsonl"))) < 2 or len(rows_in(record)) < 2000:
            assert service.request("POST", "/predict", json=body).status_code == 200
        for worker in ("worker 0", "worker 1"):
            os.kill(*service.processes(worker), signal.SIGKILL)
        wait_until(lambda: service.scrape()["serving_worker_restarts_total",] == 2)
    assert len(rows_in(record)) >= 2000
    assert len({path.name.split("-")[2] for path in record.iterdir()}) == 2


def test_a_record_that_cannot_be_written_ends_the_start(model_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    ended = run("serve", SERVING_MODEL_DIR=model_dir, SERVING_RECORD_DIR=file / "record")
    assert ended.returncode == 2
    assert "SERVING_RECORD_DIR: cannot write" in ended.stdout


def test_parquet_holds_the_same_rows(
    recording: Callable[..., TestClient], manifest: Manifest, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `package` is not installed")
    example = manifest.examples[0].input
    with recording(record_format="parquet", record_without=["sepal_width"]) as client:
        answers = predict(client, [example])
    (file,) = (tmp_path / "record").iterdir()
    (row,) = parquet.read_table(file).to_pylist()
    example = {name: value for name, value in example.items() if name != "sepal_width"}
    assert row["input"] == example
    assert row["output"] == answers[0]
    assert row["shadow"] is None
