"""The command line: the output and the exit code of each command."""

import builtins
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from serving_engine.cli import model_commands
from serving_engine.errors import UsageError
from serving_engine.runtimes.load import LoadedModel
from serving_engine.schema.predictions import Outputs, predictions_agree
from serving_engine.schema.request_parser import Values
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from .conftest import Result
from .example_service import transformers
from .example_service.settings import Settings
from .models import package, package_diabetes, predict_rows, with_predict
from .service import ENGINE


@pytest.fixture(params=["csv", "json", "jsonl", "parquet"])
def example_file(request: pytest.FixtureRequest, loaded: LoadedModel, tmp_path: Path) -> Path:
    """The inputs of the golden examples, in a file of each kind."""
    rows = [example.input for example in loaded.manifest.examples]
    path = tmp_path / f"rows.{request.param}"
    if request.param == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif request.param == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif request.param == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_check_prints_ok(run: Callable[..., Result], model_dir: Path) -> None:
    result = run("check", "--model-dir", str(model_dir))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("ok: ")


def test_predict_prints_a_prediction_for_every_row_of_a_file(
    run: Callable[..., Result], example_file: Path, model_dir: Path, loaded: LoadedModel
) -> None:
    result = run("predict", str(example_file), "--model-dir", str(model_dir))
    assert (result.code, result.err) == (0, "")
    predictions = [json.loads(line) for line in result.out.splitlines()]
    tolerance = loaded.manifest.tolerance
    for example, prediction in zip(loaded.manifest.examples, predictions, strict=True):
        assert predictions_agree(example.output, prediction, tolerance.relative, tolerance.absolute)


def test_predict_reads_the_cells_of_a_csv_file_by_the_types_of_the_signature(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    """A field that looks like a number is text if the model takes text."""
    texts = ["01 good", "02", "1.5", ""]
    model = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression())
    joblib.dump(model.fit(texts, [0, 1, 0, 1]), tmp_path / "model.joblib")
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "\n".join(f'"{text}"' for text in texts), encoding="utf-8")
    examples = json.dumps([{"text": text} for text in texts])
    package(tmp_path / "model.joblib", examples, tmp_path / "model", name="t", version="1")
    result = run("predict", str(rows), "--model-dir", str(tmp_path / "model"))
    assert (result.code, result.err) == (0, "")
    labels = [json.loads(line)["label"] for line in result.out.splitlines()]
    assert labels == model.predict(texts).tolist()


def test_predict_names_the_place_of_an_invalid_value(
    run: Callable[..., Result], tmp_path: Path, model_dir: Path
) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"unknown": 1}]', encoding="utf-8")
    result = run("predict", str(file), "--model-dir", str(model_dir))
    assert result.code == 2
    note, line = result.err.splitlines()
    assert note == "ignored columns: unknown"
    assert "rows.json" in line
    assert re.search(r"row 0: column \w+ is missing; column", line), line


def test_predict_shows_the_value_that_is_invalid(
    run: Callable[..., Result], tmp_path: Path, model_dir: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("sepal_length,sepal_width,petal_length,petal_width\n1,2,3,4\n1,2,x,4\n")
    result = run("predict", str(file), "--model-dir", str(model_dir))
    assert result.code == 2
    assert result.err.endswith(
        "rows.csv, row 1: column petal_length ('x') must be a finite number. `model show` has the "
        "columns; --on-error FILE sets bad rows apart.\n"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [(None, "the model fails (ZeroDivisionError: "), (np.inf, "output is not a finite number")],
)
def test_predict_ends_with_one_line_if_the_model_fails(
    example_file: Path, loaded: LoadedModel, values: float | None, text: str
) -> None:
    def predict(rows: Values) -> Outputs:
        if values is None:
            raise ZeroDivisionError("by a cell")
        return Outputs(np.zeros(len(rows), int), np.full((len(rows), 3), values))

    with pytest.raises(UsageError, match=f", row 0: .*{re.escape(text)}"):
        predict_rows(example_file, with_predict(loaded, predict))


@pytest.mark.parametrize("name", ["missing.csv", "rows.xml", "broken.json", "empty.csv"])
def test_a_file_without_rows_is_an_error_in_one_line(
    run: Callable[..., Result], tmp_path: Path, model_dir: Path, name: str
) -> None:
    if name != "missing.csv":
        (tmp_path / name).write_text("{" if name == "broken.json" else "", encoding="utf-8")
    result = run("predict", str(tmp_path / name), "--model-dir", str(model_dir))
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert name in line


def test_help_lists_every_setting(run: Callable[..., Result]) -> None:
    result = run("serve", "--help")
    assert result.code == 0
    for name in Settings.model_fields:
        assert f"SERVING_{name.upper()}" in result.out


def test_a_model_that_fails_the_check_does_not_replace_the_old_one(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` runs in a new process, with the settings of `serve`."""
    directory = package_diabetes(tmp_path / "model")
    before = (directory / "manifest.json").read_bytes()
    command = ["model", "package", str(tmp_path / "estimator.joblib"), "--examples"]
    command += [str(tmp_path / "examples.csv"), "--model-dir", str(directory)]
    with monkeypatch.context() as environment:
        environment.setenv("SERVING_MAX_MODEL_BYTES", "100")
        environment.chdir(ENGINE)  # where the new process finds the example service
        result = run(*command)
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith("error: `check` failed: ")
    assert "SERVING_MAX_MODEL_BYTES is 100" in last
    assert (directory / "manifest.json").read_bytes() == before
    monkeypatch.setattr(model_commands, "_check_in_new_process", lambda *_: "checked")
    result = run(*command, "--version", "2", "--compare")
    assert result.code == 0, result.err
    assert "largest difference of a number is 0" in result.err
    assert "checked" in result.out
    restored = run("model", "restore", "--model-dir", str(directory))
    assert restored.out == f"restored test 1 in {directory}\n"
    assert (directory / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 2), ("no", 2)])
def test_a_user_at_a_terminal_is_asked_to_review_types(
    answer: str,
    code: int,
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = make_pipeline(transformers.Held(), LinearRegression()).fit([[0.0], [1.0]], [0, 1])
    joblib.dump(own, tmp_path / "own.joblib")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(builtins, "input", lambda _: answer)
    monkeypatch.setattr(model_commands, "_check_in_new_process", lambda *_: "checked")
    command = ["model", "package", str(tmp_path / "own.joblib"), "--examples", '[{"a": 1}]']
    result = run(*command, "--model-dir", str(tmp_path / "model"))
    assert result.code == code, result.err
    assert f"{transformers.__name__}.Held" in result.out
    assert (tmp_path / "model").exists() == (code == 0)


def test_model_show_prints_the_manifest_or_a_request(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    model = str(package_diabetes(tmp_path / "model", name="diabetes"))
    assert json.loads(run("model", "show", "--model-dir", model).out)["name"] == "diabetes"
    request = json.loads(run("model", "show", "--example", "--model-dir", model).out)
    assert len(request["instances"][0]) == 10


@pytest.mark.parametrize("arguments", [[], ["nope"], ["predict"], ["serve", "--nope"]], ids=str)
def test_invalid_arguments_end_with_code_2(
    run: Callable[..., Result], arguments: list[str]
) -> None:
    assert run(*arguments).code == 2
