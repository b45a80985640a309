"""From a fitted estimator to a model: what is refused, in one line, and what is left behind."""

import csv
import json
import logging
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.base
import skops.io
from fastapi.testclient import TestClient
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import DBSCAN, Birch
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import {{ cookiecutter.__package_name }} as service
from {{ cookiecutter.__package_name }} import transformers
from {{ cookiecutter.__package_name }}.app import create_app
from {{ cookiecutter.__package_name }}.artifact.load import load_model
from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.artifact.refusals import ExampleDiffers
from {{ cookiecutter.__package_name }}.errors import UsageError
from {{ cookiecutter.__package_name }}.packaging import directory as publishing
from {{ cookiecutter.__package_name }}.packaging import examples as examples_module
from {{ cookiecutter.__package_name }}.packaging.package import package
from {{ cookiecutter.__package_name }}.packaging.probes import probe
from {{ cookiecutter.__package_name }}.schema.answers import Outputs
from {{ cookiecutter.__package_name }}.settings import Settings

from .service import run_script

TREE = "sklearn.tree._tree.Tree"
ROWS = np.random.default_rng(0).normal(size=(15, 2))
SIDES = np.repeat(["left", "middle", "right"], 5)
VALUES = [dict(zip("ab", row, strict=True)) for row in ROWS.tolist()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A classifier of the columns a and b."""
    return dumped(tmp_path, LogisticRegression().fit(ROWS, SIDES))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return written(tmp_path, VALUES)


def dumped(folder: Path, value: Any) -> Path:
    joblib.dump(value, folder / "model.joblib")
    return folder / "model.joblib"


def written(folder: Path, rows: Any) -> Path:
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "rows.json"


def packaged(file: Path, examples: Path, **options: Any) -> Manifest:
    directory = file.parent / "model"
    path = package(file, examples, directory, **{"name": "test", "version": "1"} | options)
    assert sorted(directory.glob("[!.]*")) == [path, directory / "model.skops"]
    return load_model(directory, 2**24).manifest


def refused(file: Path, examples: Path, **options: Any) -> str:
    """What `package` says when it refuses: one printable line. It must leave all as it was."""
    before = contents(file.parent)
    with pytest.raises(UsageError) as caught:
        package(file, examples, file.parent / "model", **{"name": "n", "version": "1"} | options)
    assert str(caught.value).isprintable()
    assert contents(file.parent) == before
    return str(caught.value)


def contents(folder: Path) -> dict[Path, bytes]:
    paths = folder.rglob("*")
    return {path: path.read_bytes() if path.is_file() else b"" for path in paths}


# --- what is refused ---


def altered(estimator: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def classifier() -> Any:
    return LogisticRegression().fit(ROWS, SIDES)


def regressor() -> Any:
    return LinearRegression().fit(ROWS, ROWS[:, 0])


OBJECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a dictionary": (lambda: {"model": classifier()}, "holds a dict, which cannot predict"),
    "a class": (lambda: LogisticRegression, "cannot predict"),
    "a transformer": (lambda: StandardScaler().fit(ROWS), "a StandardScaler, which cannot"),
    "a clustering that cannot predict": (lambda: DBSCAN().fit(ROWS), "cannot predict"),
    "one that is not fitted": (LogisticRegression, "the model is not fitted."),
    "a search that kept nothing": (
        lambda: GridSearchCV(LinearRegression(), {}, cv=2, refit=False).fit(ROWS, ROWS[:, 0]),
        "which cannot predict",
    ),
    "labels of no kind that JSON has": (
        lambda: altered(classifier(), classes_=np.array([0.5, 1, 2])),
        "class 0.5 is neither",
    ),
    "labels that look the same": (
        lambda: altered(classifier(), classes_=np.array(["1", 1, "2"], dtype=object)),
        "two classes have the same name",
    ),
    "labels that are none of the classes": (
        lambda: RadiusNeighborsClassifier(algorithm="brute", outlier_label="none").fit(
            ROWS + 100, SIDES
        ),
        "none of its classes",
    ),
    "one that fails": (
        lambda: RadiusNeighborsClassifier(radius=1, algorithm="brute").fit(ROWS + 100, SIDES),
        "the model fails on an example (ValueError: No neighbors",
    ),
    "answers that are not finite": (
        lambda: altered(regressor(), intercept_=np.inf),
        "not a finite number",
    ),
    "a function": (
        lambda: make_pipeline(SelectKBest(k=1), LogisticRegression()).fit(ROWS, SIDES),
        "f_classif may not be part of a model",
    ),
    "types to review": (
        lambda: DecisionTreeClassifier().fit(ROWS, SIDES),
        f"then add: --trust {TREE}",
    ),
    "more columns": (
        lambda: LinearRegression().fit(np.c_[ROWS, ROWS], ROWS),
        "takes 4 columns and the examples have 2: a, b.",
    ),
    "other columns": (
        lambda: altered(regressor(), feature_names_in_=np.array(["a", "z"], dtype=object)),
        "lack columns of the model: z.",
    ),
    "what skops cannot write": (
        lambda: altered(regressor(), other=Birch()),
        "cannot be written as skops",
    ),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_cannot_be_served_is_refused(name: str, tmp_path: Path, examples: Path) -> None:
    make, text = OBJECTS[name]
    assert text in refused(dumped(tmp_path, make()), examples)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("missing.joblib", None, "there is no file"),
        ("model.onnx", b"", "Use .joblib, .pkl or .skops."),
        ("model.pkl", b"", "cannot be read (EOFError"),
        ("model.pkl", b"<html>", "cannot be read"),
        ("model.pickle", b"cnowhere\nNothing\n.", "must be in transformers.py"),
        ("model.skops", b"<html>", "cannot be read (BadZipFile"),
        ("a\nb\x1b[2J.pkl", b"", "a\\nb\\x1b[2J.pkl"),
    ],
)
def test_files_that_hold_no_estimator_are_refused(
    name: str, data: bytes | None, text: str, tmp_path: Path, examples: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert text in refused(tmp_path / name, examples)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "no rows"),
        ([VALUES[0], {"a": 1}], "example row 1 has other columns"),
        ([VALUES[0], {"a": 1, "b": 2, "c": 3}], "example row 1 has other columns"),
        ([{"a": 1, "b": 2, "c": 3}], "takes 2 columns and the examples have 3: a, b, c."),
        ([{"a": 1, "\u001b": 2}], "column '\\x1b'"),
        ([{"a": 1, "x" * 201: 2}], "at most 200"),
        *[
            ([VALUES[0], {"a": 1, "b": value}], "example row 1: column b must be a finite number")
            for value in ("x", "1", True, [], float("inf"), -1e39, 10**400)
        ],
        *[
            ([VALUES[0], {"a": 1, "b": value}], "example row 1: column b must be given")
            for value in (None, float("nan"))
        ],
        ([{"a": "x", "b": 1}, {"a": 1, "b": 1}], "example row 1: column a must be a string"),
        ([{"a": True, "b": 1}, {"a": "", "b": 1}], "example row 1: column a must be true or false"),
        ([VALUES[0], None], "no rows of named columns"),
    ],
)
def test_rows_that_the_model_cannot_take_are_refused(rows: Any, text: str, file: Path) -> None:
    assert text in refused(file, written(file.parent, rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "example row 1 has other columns"),
        ("a,b\n1,2,3\n", "example row 0 has other columns"),
        ("a,b\n1,2\n1\n", "example row 1: column b must be given"),
        ("a,b\n1,\n1,2\n", "example row 0: column b must be given"),
        ("1.5,2.5\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_tables_that_the_model_cannot_take_are_refused(text: str, message: str, file: Path) -> None:
    (file.parent / "rows.csv").write_text(text)
    assert message in refused(file, file.parent / "rows.csv")


def test_texts_for_a_model_of_numbers_are_refused(file: Path) -> None:
    pytest.importorskip("pandas")
    (file.parent / "rows.csv").write_text("a,b\n1,left\n")
    assert "could not convert string to float" in refused(file, file.parent / "rows.csv")


def test_missing_examples_are_refused(file: Path) -> None:
    assert "cannot read" in refused(file, file.parent / "none.csv")


@pytest.mark.parametrize(
    "option", [{"name": ""}, {"name": "a\nb"}, {"version": ""}, {"version": "v" * 201}]
)
def test_names_that_cannot_be_used_are_refused(
    option: dict[str, str], file: Path, examples: Path
) -> None:
    (name,) = option
    assert refused(file, examples, **option).startswith(f"{name} cannot be used: ")


@pytest.mark.parametrize("kind", ["os.system", "functools.partial", f"{transformers.__name__}.No"])
def test_a_type_that_is_never_trusted_is_told_before_anything_is_read(
    kind: str, tmp_path: Path
) -> None:
    text = refused(tmp_path / "none.pkl", tmp_path / "none.csv", trusted_types=[TREE, kind])
    assert text.startswith(f"the type {kind} may not be part of a model. Use a class")


# --- releases ---


@pytest.mark.parametrize("kind", ["joblib", "skops"])
@pytest.mark.parametrize("shift", [0, 1, -1])
def test_an_estimator_of_another_minor_release_is_refused(
    kind: str, shift: int, tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, file = classifier(), tmp_path / f"model.{kind}"
    major, minor, *_ = sklearn.__version__.split(".")
    other = f"{major}.{int(minor) + shift}.99"
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.base, "__version__", other)
        (joblib if kind == "joblib" else skops.io).dump(estimator, file)
    if shift == 0:
        assert packaged(file, examples).built_with["scikit-learn"] == sklearn.__version__
    else:
        text = refused(file, examples)
        assert other in text
        assert sklearn.__version__ in text
        assert f"uv add 'scikit-learn~={major}.{int(minor) + shift}.0'" in text


# --- what is recorded ---


def test_golden_examples_come_from_all_over_a_sorted_file(file: Path, examples: Path) -> None:
    found = [VALUES.index(example.input) for example in packaged(file, examples).examples]
    assert found == [0, 1, 3, 5, 7, 9, 11, 13]
    few = packaged(file, written(file.parent, VALUES[:3])).examples
    assert [example.input for example in few] == VALUES[:3]


def test_golden_examples_hold_what_the_estimator_itself_says(file: Path, examples: Path) -> None:
    estimator = classifier()
    for example in packaged(file, examples).examples:
        row = [list(example.input.values())]
        assert example.output["label"] == estimator.predict(row)[0]
        expected = dict(zip(estimator.classes_, estimator.predict_proba(row)[0], strict=True))
        assert example.output["probabilities"] == pytest.approx(expected)


def test_whole_numbers_of_examples_count_as_floats(tmp_path: Path) -> None:
    estimator = LinearRegression().fit([[0, 1], [1, 0], [2, 2]], [0, 1, 2])
    manifest = packaged(
        dumped(tmp_path, estimator), written(tmp_path, [{"a": 1, "b": -2}, {"a": 2, "b": 2.5}])
    )
    assert [column.minimum for column in manifest.signature.inputs] == [1.0, -2.0]
    values = [value for example in manifest.examples for value in example.input.values()]
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.repeat([0.0, 1.0, 2.0], 5), [0, 1, 2]),
        (np.repeat([0, 5, -5], 5), [-5, 0, 5]),
        (np.repeat([True, False, True], 5), [False, True]),
        (SIDES.astype(object), ["left", "middle", "right"]),
    ],
)
def test_labels_become_what_json_has(
    labels: Any, classes: list[Any], tmp_path: Path, examples: Path
) -> None:
    file = dumped(tmp_path, LogisticRegression().fit(ROWS, labels))
    found = packaged(file, examples).signature.classes
    assert found == classes
    assert [type(label) for label in found or ()] == [type(label) for label in classes]


@pytest.mark.parametrize(
    ("target", "outputs"),
    [(ROWS[:, :1], None), (ROWS[:, 0], None), (ROWS, ["output_0", "output_1"])],
)
def test_outputs_of_a_regressor_are_counted(
    target: Any, outputs: list[str] | None, tmp_path: Path, examples: Path
) -> None:
    manifest = packaged(dumped(tmp_path, LinearRegression().fit(ROWS, target)), examples)
    assert manifest.signature.outputs == outputs
    assert isinstance(manifest.examples[0].output, float if outputs is None else list)


def test_of_a_search_the_best_estimator_is_packaged(tmp_path: Path, examples: Path) -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(ROWS, SIDES)
    assert packaged(dumped(tmp_path, search), examples).artifact.trusted_types == []


def test_types_that_were_reviewed_are_recorded(tmp_path: Path, examples: Path) -> None:
    tree = DecisionTreeClassifier().fit(ROWS, SIDES)
    manifest = packaged(dumped(tmp_path, tree), examples, trusted_types=[TREE])
    assert manifest.artifact.trusted_types == [TREE]


def test_an_estimator_of_a_data_frame_knows_its_columns(tmp_path: Path) -> None:
    """Their order in the examples does not matter, and neither does what else is in them."""
    pandas = pytest.importorskip("pandas")
    steps = ColumnTransformer([("one", StandardScaler(), ["a"])], remainder="passthrough")
    estimator = make_pipeline(steps, LogisticRegression())
    estimator.fit(pandas.DataFrame(ROWS, columns=["b", "a"]), SIDES)
    rows = [{"side": "left", "a": row["b"], "b": row["a"]} for row in VALUES]
    manifest = packaged(dumped(tmp_path, estimator), written(tmp_path, rows))
    assert manifest.signature.columns == ["b", "a"]


def test_without_pandas_names_of_columns_are_taken_as_they_are(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(examples_module, "import_module", missing)
    names = np.array(["b", "a"], dtype=object)
    estimator = make_pipeline(StandardScaler(), altered(classifier(), feature_names_in_=names))
    estimator[0].fit(ROWS).feature_names_in_ = names
    file = dumped(tmp_path, estimator)
    assert packaged(file, examples).signature.columns == ["b", "a"]


def test_a_model_that_warns_is_probed_like_any_other() -> None:
    def predict(rows: Any) -> Outputs:
        warnings.warn("as forests do in several threads", stacklevel=1)
        return Outputs(np.array(rows)[:, 0])

    assert probe(predict, ROWS.tolist()) == {"thread_safe": True, "row_independent": True}


@pytest.mark.parametrize(
    ("predict", "found"),
    [
        (lambda rows: np.array(rows)[:, 0] - np.mean(rows), (True, False)),
        (lambda rows: np.arange(len(rows)) * 1.0, (True, False)),
        (lambda rows: np.array(rows)[:, 0] + threading.get_ident() * 1e-6, (False, True)),
    ],
)
def test_probes_find_models_that_depend_on_more_than_a_row(
    predict: Callable[[Any], Any], found: tuple[bool, bool]
) -> None:
    probed = probe(lambda rows: Outputs(predict(rows)), ROWS.tolist())
    assert (probed["thread_safe"], probed["row_independent"]) == found


# --- skops files ---


def test_a_skops_file_is_packaged(tmp_path: Path, examples: Path, caplog: Any) -> None:
    skops.io.dump(classifier(), tmp_path / "own.skops")
    packaged(tmp_path / "own.skops", examples)
    assert not caplog.records, "only pickles run code"


def test_a_skops_file_holds_no_more_than_was_reviewed(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.skops"
    skops.io.dump(DecisionTreeClassifier().fit(ROWS, SIDES), file)
    with monkeypatch.context() as patched:
        patched.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("it was built"))
        assert f"then add: --trust {TREE}" in refused(file, examples)
    packaged(file, examples, trusted_types=[TREE])
    skops.io.dump([os.getcwd], file)
    assert "getcwd may not be part of a model" in refused(file, examples)


# --- the directory ---


@pytest.fixture
def old(file: Path, examples: Path) -> Path:
    """A directory with a model, and something else."""
    packaged(file, examples, version="old")
    (file.parent / "model" / "README.md").write_text("mine")
    return file.parent / "model"


def failing(*_: object, **__: object) -> Any:
    raise ExampleDiffers("it does not reproduce")


def test_the_old_model_stays_until_the_new_one_passed_every_check(
    old: Path, file: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "load_model", failing)
    assert "cannot be served as it is: it does not reproduce." in refused(file, examples)
    assert load_model(old, 2**24).manifest.version == "old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["model.skops", "manifest.json"])
def test_the_old_model_is_put_back_when_replacing_it_fails(
    name: str, error: BaseException, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, examples, replace = old.parent / "model.joblib", old.parent / "rows.json", Path.replace

    def broken(path: Path, target: Path) -> Path:
        if path.name == name:
            raise error
        return replace(path, target)

    before = contents(old)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", broken)
        with pytest.raises((UsageError, KeyboardInterrupt)) as caught:
            package(file, examples, old, name="test", version="new")
    assert isinstance(error, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert contents(old) == before
    package(file, examples, old, name="test", version="new")
    assert load_model(old, 2**24).manifest.version == "new"
    assert (old / "README.md").read_text() == "mine"


def test_directories_are_made_and_removed_again(
    file: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = file.parent / "a" / "b"
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "load_model", failing)
        with pytest.raises(UsageError):
            package(file, examples, deep, name="test", version="1")
    assert not deep.parent.exists()
    package(file, examples, deep, name="test", version="1")
    assert load_model(deep, 2**24)


def test_a_file_in_place_of_the_directory_is_refused(file: Path, examples: Path) -> None:
    (file.parent / "model").touch()
    assert "cannot write" in refused(file, examples)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_everybody_whom_the_umask_admits_may_read_the_model(file: Path, examples: Path) -> None:
    before = os.umask(0o022)
    try:
        packaged(file, examples)
    finally:
        os.umask(before)
    directory = file.parent / "model"
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o644}
    assert directory.stat().st_mode & 0o777 == 0o755


# --- classes of one's own ---


class Shifted(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of one's own."""

    def __init__(self, by: float = 1.0) -> None:
        self.by = by

    def fit(self, rows: Any, _: Any = None) -> "Shifted":
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def transform(self, rows: Any) -> Any:
        return np.asarray(rows) + self.by


def test_a_class_of_transformers_is_packaged_and_served(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shifted, "__module__", transformers.__name__)
    monkeypatch.setattr(transformers, "Shifted", Shifted, raising=False)
    estimator = make_pipeline(Shifted(2.0), LogisticRegression()).fit(ROWS, SIDES)
    file, own = dumped(tmp_path, estimator), f"{transformers.__name__}.Shifted"
    assert f"then add: --trust {own}" in refused(file, examples)
    assert packaged(file, examples, trusted_types=[own]).artifact.trusted_types == [own]
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        answer = client.post("/predict", json={"instances": VALUES}).json()
    labels = [prediction["label"] for prediction in answer["predictions"]]
    assert labels == estimator.predict(ROWS).tolist()


def test_the_commands_package_check_and_predict(tmp_path: Path) -> None:
    """In a project of its own: transformers.py has a class, and a script fits with it."""
    copy = tmp_path / "project" / service.__name__
    shutil.copytree(Path(service.__file__).parent, copy)
    with (copy / "transformers.py").open("a") as source:
        source.write(
            "\n\nfrom sklearn.preprocessing import StandardScaler\n\n"
            "class Scaled(StandardScaler):\n    pass\n"
        )
    with (tmp_path / "rows.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["a", "b"], *ROWS[:10].tolist()])
    script = f"""
import os, sys
import joblib, numpy
os.chdir(sys.argv[1])
os.environ["PYTHONPATH"] = os.path.abspath("project")
sys.path.insert(0, os.environ["PYTHONPATH"])
sys.stderr = open("errors.txt", "w", buffering=1)
for name in [*sys.modules]:
    if name.partition(".")[0] == "{service.__name__}":
        del sys.modules[name]
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from {service.__name__}.cli import main
from {service.__name__}.transformers import Scaled

rows = numpy.loadtxt("rows.csv", delimiter=",", skiprows=1)
joblib.dump(make_pipeline(Scaled(), LinearRegression()).fit(rows, rows[:, 0]), "own.joblib")
own = ["--trust", "{service.__name__}.transformers.Scaled"]
for command in (
    ["model", "package", "own.joblib", "--examples", "rows.csv"],
    ["model", "package", "own.joblib", "--examples", "rows.csv", *own],
    ["check"],
    ["predict", "rows.csv"],
):
    try:
        main(command)
    except SystemExit as end:
        print("code", end.code, flush=True)
"""
    output = run_script(script, tmp_path)
    errors = (tmp_path / "errors.txt").read_text().splitlines()
    progress = [line for line in errors if line.startswith("- ")]
    warned, refusal, again = (line for line in errors if line not in progress)
    assert progress[0] == "- reading own.joblib"
    assert progress[-1] == "- checking it in a process of its own"
    assert warned == again
    assert "own.joblib runs whatever code is in it" in warned
    assert f"then add: --trust {service.__name__}.transformers.Scaled" in refusal
    refused, packaging, checking, (*predictions, last) = commands(output)
    assert [part[-1] for part in (refused, packaging, checking)] == ["code 2", "code 0", "code 0"]
    assert packaging[0] == f"packaged {Path('model') / 'manifest.json'}"
    assert packaging[1].split() == ["column", "type", "null", "observed"]
    assert packaging[2].split()[:3] == ["a", "float64", "no"]
    for lines in (packaging[5:], checking):
        assert lines[0] == "ok: own 1 in model may be served"
        assert [line.partition(":")[0] for line in lines[1:-1]] == [
            "size",
            "time",
            "thread_safe",
            "row_independent",
        ]
    assert last == "code 0"
    assert [float(value) for value in predictions] == pytest.approx(ROWS[:10, 0].tolist())


def commands(output: str) -> list[list[str]]:
    """The lines of each command, of which the last is its code."""
    parts: list[list[str]] = [[]]
    for line in output.splitlines():
        parts[-1].append(line)
        if line.startswith("code "):
            parts.append([])
    return parts[:-1]


def test_reading_a_pickle_is_warned_of(
    file: Path, examples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packaged(file, examples)
    (warned,) = caplog.records
    assert warned.levelno == logging.WARNING
    assert "runs whatever code is in it" in warned.getMessage()
