"""The command line: what it prints and the code it ends with."""

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from {{ cookiecutter.__package_name }} import cli_model
from {{ cookiecutter.__package_name }}.artifact.load import LoadedModel
from {{ cookiecutter.__package_name }}.cli import main
from {{ cookiecutter.__package_name }}.packaging.package import package
from {{ cookiecutter.__package_name }}.schema.answers import agree
from {{ cookiecutter.__package_name }}.settings import Settings

from .models import package_diabetes


class Ended:
    """What a command printed and the code it ended with."""

    def __init__(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        self.code = ended.value.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command of the service in this process."""
    return lambda *arguments: Ended(list(arguments), capsys)


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


def test_check_starts_once_and_says_so(run: Callable[..., Ended], model_dir: Path) -> None:
    ended = run("check", "--model-dir", str(model_dir))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("ok: ")


def test_predict_answers_every_row_of_a_file(
    run: Callable[..., Ended], example_file: Path, model_dir: Path, loaded: LoadedModel
) -> None:
    ended = run("predict", str(example_file), "--model-dir", str(model_dir))
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.out.splitlines()]
    tolerance = loaded.manifest.tolerance
    for example, prediction in zip(loaded.manifest.examples, found, strict=True):
        assert agree(example.output, prediction, tolerance.relative, tolerance.absolute)


def test_predict_reads_a_table_as_the_signature_has_it(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    """What looks like a number is text where the model takes text."""
    texts = ["01 good", "02", "1.5", ""]
    model = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression())
    joblib.dump(model.fit(texts, [0, 1, 0, 1]), tmp_path / "model.joblib")
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "\n".join(f'"{text}"' for text in texts), encoding="utf-8")
    examples = json.dumps([{"text": text} for text in texts])
    package(tmp_path / "model.joblib", examples, tmp_path / "model", name="t", version="1")
    ended = run("predict", str(rows), "--model-dir", str(tmp_path / "model"))
    assert (ended.code, ended.err) == (0, "")
    labels = [json.loads(line)["label"] for line in ended.out.splitlines()]
    assert labels == model.predict(texts).tolist()


def test_predict_names_what_does_not_fit(
    run: Callable[..., Ended], tmp_path: Path, model_dir: Path
) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"unknown": 1}]', encoding="utf-8")
    ended = run("predict", str(file), "--model-dir", str(model_dir))
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "rows.json" in line
    assert "/instances/0/" in line


@pytest.mark.parametrize("name", ["missing.csv", "rows.xml", "broken.json", "empty.csv"])
def test_a_file_that_holds_no_rows_is_refused_in_one_line(
    run: Callable[..., Ended], tmp_path: Path, model_dir: Path, name: str
) -> None:
    if name != "missing.csv":
        (tmp_path / name).write_text("{" if name == "broken.json" else "", encoding="utf-8")
    ended = run("predict", str(tmp_path / name), "--model-dir", str(model_dir))
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert name in line


def test_help_teaches_every_setting(run: Callable[..., Ended]) -> None:
    ended = run("serve", "--help")
    assert ended.code == 0
    for name in Settings.model_fields:
        assert f"SERVING_{name.upper()}" in ended.out


def test_a_model_that_check_refuses_replaces_nothing(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` runs in a process of its own, with the settings that `serve` has."""
    directory = package_diabetes(tmp_path / "model")
    before = (directory / "manifest.json").read_bytes()
    command = ["model", "package", str(tmp_path / "estimator.joblib"), "--examples"]
    command += [str(tmp_path / "examples.csv"), "--model-dir", str(directory)]
    with monkeypatch.context() as small:
        small.setenv("SERVING_MAX_MODEL_BYTES", "100")
        ended = run(*command)
    assert ended.code == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith("error: the model does not pass `check`: ")
    assert "SERVING_MAX_MODEL_BYTES is 100" in last
    assert (directory / "manifest.json").read_bytes() == before
    monkeypatch.setattr(cli_model, "_check_afresh", lambda *_: "checked")
    ended = run(*command, "--version", "2", "--compare")
    assert ended.code == 0, ended.err
    assert "largest difference of a number is 0" in ended.err
    assert "checked" in ended.out
    restored = run("model", "restore", "--model-dir", str(directory))
    assert restored.out == f"restored test 1 in {directory}\n"
    assert (directory / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 2), ("no", 2)])
def test_whoever_sits_at_a_terminal_is_asked_for_the_review(
    answer: str,
    code: int,
    run: Callable[..., Ended],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joblib.dump(DecisionTreeRegressor().fit([[0.0], [1.0]], [0, 1]), tmp_path / "tree.joblib")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(builtins, "input", lambda _: answer)
    monkeypatch.setattr(cli_model, "_check_afresh", lambda *_: "checked")
    command = ["model", "package", str(tmp_path / "tree.joblib"), "--examples", '[{"a": 1}]']
    ended = run(*command, "--model-dir", str(tmp_path / "model"))
    assert ended.code == code, ended.err
    assert "sklearn.tree._tree.Tree" in ended.out
    assert (tmp_path / "model").exists() == (code == 0)


def test_model_show_prints_the_manifest_or_a_request(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    model = str(package_diabetes(tmp_path / "model", name="diabetes"))
    assert json.loads(run("model", "show", "--model-dir", model).out)["name"] == "diabetes"
    request = json.loads(run("model", "show", "--example", "--model-dir", model).out)
    assert len(request["instances"][0]) == 10


@pytest.mark.parametrize("arguments", [[], ["nope"], ["predict"], ["serve", "--nope"]], ids=str)
def test_wrong_arguments_end_with_code_2(run: Callable[..., Ended], arguments: list[str]) -> None:
    assert run(*arguments).code == 2
