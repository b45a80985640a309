"""The runtime `python`: a class of the owner's is packaged, loaded, served and refused."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from serving_engine import LoadedModel, PythonModel
from serving_engine.build_model import build
from serving_engine.build_model.builder import Trust
from serving_engine.build_model.errors import NotPackaged
from serving_engine.build_model.publish import restore
from serving_engine.model_files import load_errors, read_artifact
from serving_engine.model_files.download import fetch_model
from serving_engine.model_files.manifest import read_manifest
from serving_engine.runtimes.base import OwnerCode
from serving_engine.runtimes.load import load_directory, read_model
from serving_engine.runtimes.python.answers import InvalidAnswer, to_outputs
from serving_engine.schema.predictions import PredictionFormatter
from serving_engine.schema.signature import Column, Signature

from .example_service.model import Model
from .service import Service, run, wait_until

LOAD_ERRORS = {
    load_errors.ModelClassFailed,
    load_errors.ModelClassInvalid,
    load_errors.NoRoomForCopies,
}
"""The load errors that are tested here."""

EXAMPLE_MODEL = "tests.example_service.model:Model"
ROWS = [{"a": 0.5, "b": 1.0}, {"a": 0.0, "b": 2.5}, {"a": 2.0, "b": 0.25}]
WEIGHTS = np.array([[1.0, -1.0, 0.5], [0.25, 2.0, -1.0]])


class Values(PythonModel):
    def predict(self, rows: Any) -> Any:
        return rows.sum(axis=1)


class TwoValues(PythonModel):
    outputs = ("sum", "product")

    def predict(self, rows: Any) -> Any:
        return {"values": np.column_stack([rows.sum(axis=1), rows.prod(axis=1)])}


class Labels(PythonModel):
    classes = (False, True)

    def predict(self, rows: Any) -> Any:
        return {"labels": [bool(row[0] > row[1]) for row in rows]}


class Indicators(PythonModel):
    classes = ("big", "even")

    def predict(self, rows: Any) -> Any:
        big = rows.sum(axis=1) > 2
        return {"indicators": np.column_stack([big, rows[:, 0] % 2 == 0])}


class Clusters(PythonModel):
    def predict(self, rows: Any) -> Any:
        return {"clusters": (rows[:, 0] > 1).astype(int)}


class Outliers(PythonModel):
    def predict(self, rows: Any) -> Any:
        return {"scores": 1.0 - rows[:, 0]}


class Lengths(PythonModel):
    """Of a text: layout text."""

    def predict(self, rows: Any) -> Any:
        assert isinstance(rows, list)
        return [float(len(text)) for text in rows]


class Mixed(PythonModel):
    """A rule over a DataFrame: layout frame."""

    classes = ("no", "yes")

    def predict(self, rows: Any) -> Any:
        known = rows["city"].map({"Ulm": 1.0, "Bonn": 0.0})
        if known.isna().any():
            raise ValueError("unknown city")
        yes = (known + rows["age"].fillna(0) / 100).clip(0, 1).to_numpy(float)
        return {"probabilities": np.column_stack([1 - yes, yes])}


class Together(PythonModel):
    """Every value depends on the other rows."""

    thread_safe: ClassVar[bool] = False

    def predict(self, rows: Any) -> Any:
        return rows.sum(axis=1) - rows.sum(axis=1).mean()


def package(
    directory: Path, model: type[PythonModel] | str, rows: Any, *files: Path, **options: Any
) -> Path:
    """Package a class of this module, or the one with a name."""
    name = model if isinstance(model, str) else f"{__name__}:{model.__name__}"
    options = {"name": "test", "version": "1", **options}
    examples = rows if isinstance(rows, str | Path) else json.dumps(rows)
    return build.package(
        files, examples, directory, trust=Trust(), runtime="python", model_class=name, **options
    )


def load(directory: Path, model: type[PythonModel] | str = EXAMPLE_MODEL) -> LoadedModel:
    name = model if isinstance(model, str) else f"{__name__}:{model.__name__}"
    return load_directory(directory, 2**24, OwnerCode(model_class=name))


def predictions(loaded: LoadedModel, rows: list[list[Any]]) -> list[Any]:
    return PredictionFormatter(loaded.manifest.signature)(loaded.predict(rows))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The files of `example_service/model.py`."""
    (tmp_path / "weights").mkdir()
    np.save(tmp_path / "weights" / "coefficients.npy", WEIGHTS)
    (tmp_path / "weights" / "empty.txt").touch()
    (tmp_path / "model.json").write_text('{"classes": ["x", "y", "z"]}')
    return [tmp_path / "weights", tmp_path / "model.json"]


@pytest.fixture
def directory(tmp_path: Path, files: list[Path]) -> Path:
    package(tmp_path / "model", EXAMPLE_MODEL, ROWS, *files)
    return tmp_path / "model"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "task", "expected"),
    [
        (Values, "regression", [1.5, 2.5]),
        (TwoValues, "regression", [[1.5, 0.5], [2.5, 0.0]]),
        (Labels, "classification", [{"label": False}, {"label": False}]),
        (Indicators, "multilabel", [{"labels": []}, {"labels": ["big", "even"]}]),
        (Clusters, "clustering", [{"cluster": 0}, {"cluster": 0}]),
        (
            Outliers,
            "outlier-detection",
            [{"outlier": False, "score": 0.5}, {"outlier": False, "score": 1.0}],
        ),
    ],
)
def test_the_answer_of_the_class_is_the_task(
    model: type[PythonModel], task: str, expected: list[Any], tmp_path: Path
) -> None:
    package(tmp_path / "model", model, ROWS)
    loaded = load(tmp_path / "model", model)
    assert loaded.manifest.signature.task == task
    assert loaded.manifest.signature.layout == "array"
    assert predictions(loaded, [[0.5, 1.0], [0.0, 2.5]]) == expected


def test_one_column_of_texts_is_a_list_of_texts(tmp_path: Path) -> None:
    package(tmp_path / "model", Lengths, [{"text": "one"}, {"text": "three"}])
    loaded = load(tmp_path / "model", Lengths)
    assert loaded.manifest.signature.layout == "text"
    assert predictions(loaded, [["four"], [""]]) == [4.0, 0.0]


def test_mixed_columns_are_a_frame_and_the_class_says_what_it_accepts(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    rows = tmp_path / "rows.csv"
    rows.write_text("city,age\nUlm,10\nBonn,\nUlm,30\n")
    package(tmp_path / "model", Mixed, rows)
    loaded = load(tmp_path / "model", Mixed)
    city, age = loaded.manifest.signature.inputs
    assert loaded.manifest.signature.layout == "frame"
    assert (city.enforce, city.categories, city.nullable) == (True, ["Bonn", "Ulm"], False)
    assert age.nullable
    assert "pandas" in loaded.manifest.built_with
    assert predictions(loaded, [["Bonn", 20.0], ["Ulm", None]]) == [
        {"label": "no", "probabilities": {"no": 0.8, "yes": 0.2}},
        {"label": "yes", "probabilities": {"no": 0.0, "yes": 1.0}},
    ]


def test_files_and_folders_are_named_with_size_and_checksum(directory: Path) -> None:
    records = read_manifest(directory).artifact.records
    assert [record.file for record in records] == [
        "weights/coefficients.npy",
        "weights/empty.txt",
        "model.json",
    ]
    for record in records:
        data = (directory / record.file).read_bytes()
        assert record.size == len(data)
        assert record.sha256 == hashlib.sha256(data).hexdigest()
    expected = np.exp(np.array([[0.5, 1.0]]) @ WEIGHTS)
    (prediction,) = predictions(load(directory), [[0.5, 1.0]])
    assert list(prediction["probabilities"].values()) == pytest.approx(
        (expected / expected.sum())[0].tolist(), rel=1e-12
    )


CHANGES: dict[str, tuple[Any, type[Exception]]] = {
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-1]), load_errors.SizeMismatch),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b" "), load_errors.SizeMismatch),
    "other": (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"?"), load_errors.ChecksumMismatch),
    "missing": (lambda p: p.unlink(), load_errors.ArtifactMissing),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), load_errors.ArtifactUnreadable),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("name", ["weights/coefficients.npy", "model.json"])
def test_a_changed_file_is_refused_before_the_class_is_called(
    name: str,
    kind: str,
    directory: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, error = CHANGES[kind]
    change(directory / name)
    monkeypatch.setattr(Model, "load", lambda *_: pytest.fail("load was called"))
    with pytest.raises(error) as caught:
        load(directory)
    assert str(directory / name) in str(caught.value)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../model.json", "/etc/passwd", "a/../../b", ".previous/x", "manifest.json", "a//b", "a\\b"],
)
def test_a_file_outside_of_the_directory_is_refused(name: str, directory: Path) -> None:
    document = json.loads((directory / "manifest.json").read_text())
    document["artifact"]["files"][0]["file"] = name
    (directory / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(load_errors.ManifestInvalid):
        load(directory)


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a", "a/b")])
def test_two_files_of_one_name_are_refused(one: str, other: str, directory: Path) -> None:
    document = json.loads((directory / "manifest.json").read_text())
    document["artifact"]["files"][0]["file"] = one
    document["artifact"]["files"][1]["file"] = other
    (directory / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(load_errors.ManifestInvalid, match="same name"):
        load(directory)


def test_the_files_together_may_not_be_too_large(directory: Path) -> None:
    total = read_manifest(directory).artifact.total_size
    assert read_model(directory, total)
    with pytest.raises(load_errors.ArtifactTooLarge, match="SERVING_MAX_MODEL_BYTES"):
        read_model(directory, total - 1)


class Looks(Model):
    """Notes what it was given, and writes into it."""

    seen: ClassVar[list[Path]] = []

    def load(self, directory: Path) -> None:
        super().load(directory)
        (directory / "model.json").write_text("spoiled")
        self.seen.append(directory)


def test_the_class_gets_private_copies_that_are_deleted(directory: Path, temporary: Path) -> None:
    before = (directory / "model.json").read_bytes()
    loaded = load(directory, Looks)
    folder = Looks.seen.pop()
    assert folder.parent == temporary
    assert not folder.exists()
    assert (directory / "model.json").read_bytes() == before
    assert predictions(loaded, [[0.5, 1.0]])  # from weights that are mapped into memory


@pytest.mark.skipif(not read_artifact.SHARED_MEMORY.is_dir(), reason="needs Linux")
def test_without_a_folder_for_temporary_files_shared_memory_is_used(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdtemp = tempfile.mkdtemp

    def read_only(*arguments: Any, **options: Any) -> str:
        if options.get("dir") is None:
            raise FileNotFoundError(2, "No usable temporary directory")
        return mkdtemp(*arguments, **options)

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    load(directory, Looks)
    assert Looks.seen.pop().is_relative_to(read_artifact.SHARED_MEMORY)
    monkeypatch.setattr(read_artifact, "SHARED_MEMORY", Path("/nowhere"))
    with pytest.raises(load_errors.NoRoomForCopies, match="Set TMPDIR"):
        load(directory)


NO_CLASS = "this service has no class"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (None, f"{NO_CLASS} for models of the runtime python. Name it in settings.py"),
        ("tests.no_module:Model", "cannot import tests.no_module:Model (ModuleNotFoundError"),
        (f"{__name__}:NoSuchClass", "(AttributeError"),
        (f"{__name__}:Path", "no class that is derived from PythonModel"),
    ],
)
def test_a_class_that_is_none_is_a_load_error(
    name: str | None, error: str, directory: Path
) -> None:
    with pytest.raises(load_errors.ModelClassInvalid) as caught:
        load_directory(directory, 2**24, OwnerCode(model_class=name))
    assert error in str(caught.value)


class OtherClasses(Model):
    def load(self, directory: Path) -> None:
        super().load(directory)
        self.classes = ["x", "z", "y"]


def test_other_classes_than_the_manifest_s_are_refused(directory: Path) -> None:
    with pytest.raises(load_errors.SignatureMismatch, match="class mismatch"):
        load(directory, OtherClasses)


class OtherWeights(Model):
    def predict(self, rows: Any) -> Any:
        return {"probabilities": super().predict(rows)["probabilities"][:, ::-1]}


def test_other_predictions_than_the_golden_ones_are_refused(directory: Path) -> None:
    with pytest.raises(load_errors.GoldenExampleMismatch):
        load(directory, OtherWeights)


def test_a_library_of_another_major_release_is_refused(directory: Path) -> None:
    document = json.loads((directory / "manifest.json").read_text())
    document["built_with"]["numpy"] = "1.0"
    document["built_with"]["pytest"] = "1.0"
    (directory / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(load_errors.VersionMismatch, match=r"packaged with pytest 1\.0"):
        load(directory)


class NoClasses(Model):
    def load(self, directory: Path) -> None:
        super().load(directory)
        self.classes = ()


class WrongShape(Values):
    def predict(self, rows: Any) -> Any:
        return rows.sum(axis=1)[:, None, None] * [1, 2]


class WrongLabel(Labels):
    def predict(self, rows: Any) -> Any:
        return {"labels": ["yes"] * len(rows)}


class NoTask(Values):
    def predict(self, rows: Any) -> Any:
        return {"label": rows[:, 0]}


class NotFinite(Values):
    def predict(self, rows: Any) -> Any:
        return rows[:, 0] / 0


class Raises(Values):
    def predict(self, rows: Any) -> Any:
        raise KeyError(str(len(rows)))


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (NoClasses, "NoClasses has no classes. Name them"),
        (WrongShape, "values have the shape"),
        (WrongLabel, "a label that is none of `classes`"),
        (NoTask, "`predict` returned label, which is no task"),
        (Raises, "Raises.predict fails on example row 0 (KeyError"),
    ],
)
def test_an_answer_that_is_no_prediction_is_not_packaged(
    model: type[PythonModel], error: str, tmp_path: Path, files: list[Path]
) -> None:
    with pytest.raises(NotPackaged) as caught:
        package(tmp_path / "model", model, ROWS, *files)
    assert error in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_answer_that_is_not_finite_is_not_packaged(tmp_path: Path) -> None:
    with pytest.raises(NotPackaged, match="is no finite number"):
        package(tmp_path / "model", NotFinite, ROWS)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"probabilities": [[0.5, 0.5]]}, "have the shape (1, 2), and not (2, 2)"),
        ({"probabilities": [["a", "b"]] * 2}, "must be numbers"),
        ({"labels": ["x", "y"]}, "probabilities always, or never"),
        ({"labels": ["x"], "probabilities": [[0.5, 0.5]] * 2}, "1 labels for 2 rows"),
        ([1.0, 2.0], "returned regression, not classification"),
    ],
)
def test_an_answer_that_does_not_fit_the_signature_is_an_error(answer: Any, error: str) -> None:
    signature = Signature(
        layout="array",
        inputs=[Column(name="a")],
        task="classification",
        classes=["x", "y"],
        probabilities=True,
    )
    with pytest.raises(InvalidAnswer) as caught:
        to_outputs(answer, signature, 2)
    assert error in str(caught.value)


def test_what_the_class_says_is_recorded(tmp_path: Path, files: list[Path]) -> None:
    package(tmp_path / "together", Together, ROWS)
    probes = read_manifest(tmp_path / "together").probes
    assert (probes.thread_safe, probes.row_independent, probes.fork_safe) == (False, False, True)
    package(tmp_path / "model", "tests.example_service.model:Unshared", ROWS, *files)
    probes = read_manifest(tmp_path / "model").probes
    assert (probes.thread_safe, probes.row_independent, probes.fork_safe) == (True, True, False)


@pytest.mark.parametrize(
    ("name", "error"),
    [("a b.txt", "cannot be called a b.txt"), ("manifest.json", "have the same name")],
)
def test_a_file_that_a_manifest_cannot_name_is_not_packaged(
    name: str, error: str, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NotPackaged, match=error):
        package(tmp_path / "model", Values, ROWS, tmp_path / name)
    with pytest.raises(NotPackaged, match="neither a file nor a folder"):
        package(tmp_path / "model", Values, ROWS, tmp_path / "missing")


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".previous" not in path.parts
    }


def test_another_model_replaces_all_files_and_restore_brings_them_back(
    directory: Path, files: list[Path]
) -> None:
    (directory / "README.md").write_text("mine")
    before = contents(directory)
    package(directory, Values, ROWS, version="2")
    assert contents(directory).keys() == {"README.md", "manifest.json"}
    with pytest.MonkeyPatch.context() as patched:
        replace = Path.replace

        def broken(path: Path, target: Path) -> Path:
            if path.name == "model.json":
                raise OSError(28, "No space left on device")
            return replace(path, target)

        patched.setattr(Path, "replace", broken)
        after = contents(directory)
        with pytest.raises(NotPackaged, match="No space left"):
            package(directory, EXAMPLE_MODEL, ROWS, *files, version="3")
        assert contents(directory) == after
    restore(directory, OwnerCode(model_class=EXAMPLE_MODEL))
    assert contents(directory) == before
    assert load(directory).manifest.version == "1"


def test_all_files_are_fetched(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "fetched"
    fetch_model(str(directory / "manifest.json"), target)
    assert contents(target) == contents(directory)
    (directory / "weights" / "coefficients.npy").write_bytes(b"other")
    before = contents(target)
    shutil.rmtree(target / "weights")
    with pytest.raises(Exception, match=r"size mismatch|only 5 of"):
        fetch_model(str(directory / "manifest.json"), target)
    assert contents(target).keys() == before.keys() - {
        "weights/coefficients.npy",
        "weights/empty.txt",
    }


def test_a_failing_load_ends_the_start_with_one_line(directory: Path, files: list[Path]) -> None:
    text = '{"classes": ["x", "y", "z"], "fails": "the weights\\nare torn"}'
    files[1].write_text(text)
    document = json.loads((directory / "manifest.json").read_text())
    record = document["artifact"]["files"][2]
    record |= {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    shutil.copy(files[1], directory / "model.json")
    (directory / "manifest.json").write_text(json.dumps(document))
    for workers in (1, 2):
        ended = run("serve", SERVING_MODEL_DIR=directory, SERVING_WORKERS=workers, SERVING_PORT=0)
        assert ended.returncode == 3
        (line,) = ended.stdout.splitlines()
        assert "Model.load failed (RuntimeError: the weights" in line
        assert "are torn)" in line


def test_a_served_class_answers_and_its_errors_are_answered_with_an_id(directory: Path) -> None:
    with Service(directory) as service:
        client = service.client
        good = client.post("/predict", json={"instances": [{"a": 0.5, "b": 1.0}]})
        assert good.json()["predictions"][0]["label"] == "y"
        bad = client.post("/predict", json={"instances": [[-1, 0]]})
        assert bad.status_code == 500
        service.wait_for_line(bad.json()["id"])
        assert "negative" not in bad.text
        assert client.post("/predict", json={"instances": [[0, 1]]}).is_success


def test_a_class_that_may_not_be_shared_is_loaded_by_every_worker(
    tmp_path: Path, files: list[Path], temporary: Path
) -> None:
    package(tmp_path / "model", "tests.example_service.model:Unshared", ROWS, *files)
    with Service(tmp_path / "model", "--workers", "2") as service:
        assert "in every worker" in service.wait_for_line("the model takes")
        shutil.rmtree(tmp_path / "model" / "weights")  # what was verified is what is loaded
        (worker,) = service.processes("worker 0")
        os.kill(worker, 9)
        wait_until(lambda: service.processes("worker 0") not in ([worker], []))
        service.wait_for_line("worker 0")
        for _ in range(20):
            assert service.request("POST", "/predict", json={"instances": [[0, 1]]}).is_success
        assert service.stop() == 0
    assert not list(temporary.iterdir())
