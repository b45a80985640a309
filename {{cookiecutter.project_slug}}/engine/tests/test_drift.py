"""`model drift`: a record of requests against what was observed when the model was packaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_engine.cli.drift.read_record import read_record
from serving_engine.cli.drift.record_statistics import stability_index
from serving_engine.model_files.manifest import Manifest, read_manifest
from serving_engine.model_files.observed import Distribution, Observed

from . import corruptions

Run = Callable[..., Any]


def row(example: dict[str, Any], output: Any, **members: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-31T12:00:00.000+00:00",
        "request_id": "a",
        "row": 0,
        "model": "test",
        "version": "1",
        "input": example,
        "output": output,
        **members,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def example_rows(manifest: Manifest, count: int) -> list[dict[str, Any]]:
    examples = manifest.examples
    return [
        row(examples[number % len(examples)].input, examples[number % len(examples)].output)
        for number in range(count)
    ]


def line_of(result: Any, name: str) -> str:
    assert result.code == 0, result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith(name)]
    return str(line)


def test_the_manifest_holds_the_distribution_of_every_column_and_of_the_labels(
    manifest: Manifest,
) -> None:
    observed = manifest.observed
    assert observed is not None
    assert list(observed.columns) == manifest.signature.columns
    for column in observed.columns.values():
        assert len(column.edges or ()) <= 9
        assert sum(column.shares) == pytest.approx(1, abs=1e-4)
    labels = observed.predictions["label"]
    assert labels.categories == ["setosa", "versicolor", "virginica"]
    assert sum(labels.shares) == pytest.approx(1, abs=1e-4)
    assert len(observed.predictions["probability"].edges or ()) > 1


def test_what_the_model_was_packaged_with_is_stable(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    write(tmp_path / "record" / "record-1.jsonl", example_rows(manifest, 400))
    result = run("model", "drift", str(tmp_path / "record"), "--model-dir", str(model_dir))
    assert "400 rows of test 1" in result.out
    assert "100.0 %" not in line_of(result, "sepal_length")
    assert " 0.0 %" in line_of(result, "sepal_length")
    assert "labels: setosa 33.3 %" in result.out


def test_values_that_moved_have_drifted_and_those_outside_of_the_range_are_counted(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    rows = example_rows(manifest, 400)
    for each in rows:
        each["input"] = {**each["input"], "sepal_length": 100.0}
    record = write(tmp_path / "record-1.jsonl", rows)
    page = tmp_path / "drift.html"
    result = run("model", "drift", str(record), "--model-dir", str(model_dir), "--html", str(page))
    line = line_of(result, "sepal_length")
    assert "100.0 %" in line
    assert line.endswith("drifted")
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 6
    assert "http" not in html


def test_gaps_hashes_and_columns_that_are_left_out_are_named(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    rows = example_rows(manifest, 4)
    for number, each in enumerate(rows):
        each["input"] = {
            "sepal_length": None if number else 5.0,
            "sepal_width": f"{number:032x}",
            "petal_length": 1.0,
        }
    record = write(tmp_path / "record-1.jsonl", rows)
    result = run("model", "drift", str(record), "--model-dir", str(model_dir))
    assert "0.0 % → 75.0 %" in line_of(result, "sepal_length")
    assert line_of(result, "sepal_width").endswith("hashed")
    assert line_of(result, "petal_length").endswith("too few rows for a reading")
    assert line_of(result, "petal_width").endswith("not in the record")


def test_labels_that_were_not_observed_and_other_versions_are_named(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    rows = [*example_rows(manifest, 2), row({}, {"label": "setosa"}, version="0")]
    rows[0]["output"] = {"label": "<b>rose"}
    record = write(tmp_path / "record-1.jsonl", rows)
    page = tmp_path / "drift.html"
    result = run("model", "drift", str(record), "--model-dir", str(model_dir), "--html", str(page))
    assert "1 rows of other versions are left out" in result.out
    assert "values that were not observed: '<b>rose' (1)" in result.out
    assert "<b>" not in page.read_text(encoding="utf-8")


def test_how_often_a_shadow_agreed_is_reported(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    one, other = example_rows(manifest, 2)
    one["shadow"] = {"version": "2", "output": one["output"], "milliseconds": 4.0}
    wrong = {"label": "virginica", "probabilities": {"virginica": 1.0}}
    other["shadow"] = {"version": "2", "output": wrong}
    record = write(tmp_path / "record-1.jsonl", [one, other])
    result = run("model", "drift", str(record), "--model-dir", str(model_dir))
    line = line_of(result, "shadow 2:")
    assert "agrees on 50.0 % of 2 rows" in line
    assert "a call took 2 ms on average, 4 ms at most" in line
    assert line.endswith(f"{other['output']['label']} → virginica: 1")


def test_without_distributions_in_the_manifest_ranges_are_still_compared(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(model_dir, tmp_path / "model"))
    document = corruptions.read(older)
    del document["observed"]
    (older / "manifest.json").write_text(json.dumps(document))
    assert read_manifest(older).observed is None
    record = write(tmp_path / "record-1.jsonl", example_rows(manifest, 2))
    result = run("model", "drift", str(record), "--model-dir", str(older))
    assert line_of(result, "sepal_length").split()[2:4] == ["0.0", "%"]
    assert "PSI not recorded: the manifest holds no distributions" in result.out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "holds no record of requests"),
        (b'{"a": 1}\n', "a row lacks input or output"),
        (b"<html>\n", "is no record of requests"),
        (b'{"input": {}, "output": 1, "version": "7"}\n', "has no row of test 1, and 1 of other"),
    ],
)
def test_what_is_no_record_of_the_model_is_refused_in_one_line(
    run: Run, model_dir: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "record-1.jsonl").write_bytes(content)
    result = run("model", "drift", str(tmp_path), "--model-dir", str(model_dir))
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert problem in line


def test_a_line_that_a_kill_cut_off_is_skipped(
    run: Run, model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    record = write(tmp_path / "record-1.jsonl", example_rows(manifest, 2))
    record.write_text(record.read_text()[:-5])
    result = run("model", "drift", str(record), "--model-dir", str(model_dir))
    assert result.out.startswith("1 rows of test 1")


def test_a_record_is_read_a_block_at_a_time(manifest: Manifest, tmp_path: Path) -> None:
    """It may be larger than the memory."""
    for number in range(2):
        write(tmp_path / f"record-{number}.jsonl", example_rows(manifest, 1500))
    assert [len(rows) for rows in read_record(tmp_path)] == [1000, 500, 1000, 500]


def test_the_index_is_that_of_the_literature() -> None:
    """0.1 → 0.2 and 0.9 → 0.8: 0.1 ln 2 + 0.1 ln (9 / 8)."""
    assert stability_index([0.1, 0.9], [0.2, 0.8]) == pytest.approx(0.1 * np.log(2 * 9 / 8))
    assert stability_index([0.5, 0.5], [1.0, 0.0]) < 10


@pytest.mark.parametrize(
    "document",
    [
        {"shares": [1.0]},
        {"edges": [1.0], "shares": [1.0]},
        {"edges": [2.0, 1.0], "shares": [0.5, 0.5, 0.0]},
        {"categories": ["a"], "edges": [1.0], "shares": [0.5, 0.5]},
    ],
)
def test_a_distribution_that_does_not_fit_itself_is_invalid(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"distribution|ascend"):
        Distribution.model_validate(document)
    assert Observed(rows=1).columns == {}
