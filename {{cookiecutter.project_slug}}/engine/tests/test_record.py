"""The record of requests: what is written, its bounds, and that it never harms a request."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import ServiceExit, UsageError
from serving_engine.inference.observers.record_files import JSONLinesWriter, RecordDirectory
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import samples


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
    with pytest.raises(ServiceExit, match=problem), recording(**changes):
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


def test_a_record_that_cannot_be_written_ends_the_start(
    recording: Callable[..., TestClient], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="SERVING_RECORD_DIR: cannot write"):
        recording(record_dir=file / "record")


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
