"""`model package`: its result, and its errors, which are one line and leave no file behind."""

import csv
import json
import logging
import os
import shutil
import threading
import time
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
from serving_engine.build_model import examples as examples_module
from serving_engine.build_model import publish as publishing
from serving_engine.build_model.probes import UNSEEN, probe
from serving_engine.build_model.rejected_models import cannot_predict
from serving_engine.errors import UsageError
from serving_engine.model_files.load_errors import GoldenExampleMismatch
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes import versions
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.signature import Column, Signature
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import DBSCAN
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from .example_service import transformers
from .example_service.app import create_app
from .example_service.settings import Settings
from .models import load_directory, package
from .service import run_script

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
TREE = "sklearn.tree._tree.Tree"
HELD = f"{transformers.__name__}.Held"
ROWS = np.random.default_rng(0).normal(size=(15, 2))
SIGNATURE = Signature(layout="array", inputs=[Column(name=n) for n in "ab"], task="regression")
SIDES = np.repeat(["left", "middle", "right"], 5)
VALUES = [dict(zip("ab", row, strict=True)) for row in ROWS.tolist()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A classifier of the columns a and b."""
    return dump_model(tmp_path, LogisticRegression().fit(ROWS, SIDES))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return write_rows(tmp_path, VALUES)


def dump_model(folder: Path, value: Any) -> Path:
    joblib.dump(value, folder / "model.joblib")
    return folder / "model.joblib"


def write_rows(folder: Path, rows: Any) -> Path:
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "rows.json"


def package_and_load(file: Path, examples: Path, **options: Any) -> Manifest:
    directory = file.parent / "model"
    path = package(file, examples, directory, **{"name": "test", "version": "1"} | options)
    assert sorted(directory.glob("[!.]*")) == [path, directory / "model.skops"]
    return load_directory(directory, 2**24).manifest


def package_error(file: Path, examples: Path, **options: Any) -> str:
    """The error of `package`: it must be one printable line, and no file may change."""
    before = contents(file.parent)
    with pytest.raises(UsageError) as caught:
        package(file, examples, file.parent / "model", **{"name": "n", "version": "1"} | options)
    assert str(caught.value).isprintable()
    assert contents(file.parent) == before
    return str(caught.value)


def contents(folder: Path) -> dict[Path, bytes]:
    paths = folder.rglob("*")
    return {path: path.read_bytes() if path.is_file() else b"" for path in paths}


# --- errors ---


def with_attributes(estimator: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def classifier() -> Any:
    return LogisticRegression().fit(ROWS, SIDES)


def regressor() -> Any:
    return LinearRegression().fit(ROWS, ROWS[:, 0])


INVALID_OBJECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a dictionary": (
        lambda: {"scaler": StandardScaler(), "model": classifier()},
        "holds a dict of StandardScaler, LogisticRegression, not one model. Join",
    ),
    "a scaler and a model": (
        lambda: (StandardScaler().fit(ROWS), classifier()),
        "holds a tuple of StandardScaler, LogisticRegression, not one model. Join",
    ),
    "a class": (lambda: LogisticRegression, "holds the class LogisticRegression, not a fitted"),
    "a transformer": (
        lambda: StandardScaler().fit(ROWS),
        "holds a StandardScaler, a preprocessor without its model. Save the pipeline",
    ),
    "a pipeline without its model": (
        lambda: make_pipeline(StandardScaler()).fit(ROWS),
        "holds a Pipeline that ends with StandardScaler, a preprocessor without its model.",
    ),
    "a clustering without predict": (
        lambda: DBSCAN().fit(ROWS),
        "a DBSCAN, which has predictions for the rows that it was fitted on alone. Take",
    ),
    "rows": (lambda: ROWS, "a ndarray, which has no method predict. Save the fitted model"),
    "an estimator that is not fitted": (
        LogisticRegression,
        "the model is not fitted. Save it after `fit`.",
    ),
    "a search without a best estimator": (
        lambda: GridSearchCV(LinearRegression(), {}, cv=2, refit=False).fit(ROWS, ROWS[:, 0]),
        "holds a GridSearchCV without a best estimator. Fit it with refit=True.",
    ),
    "labels that are fractions": (
        lambda: with_attributes(classifier(), classes_=np.array([0.5, 1, 2])),
        "class 0.5 is neither",
    ),
    "labels with the same text": (
        lambda: with_attributes(classifier(), classes_=np.array(["1", 1, "2"], dtype=object)),
        "two classes have the same name",
    ),
    "a predicted label that is no class": (
        lambda: RadiusNeighborsClassifier(algorithm="brute", outlier_label="none").fit(
            ROWS + 100, SIDES
        ),
        "none of its classes",
    ),
    "an estimator that fails": (
        lambda: RadiusNeighborsClassifier(radius=1, algorithm="brute").fit(ROWS + 100, SIDES),
        "row 0: its RadiusNeighborsClassifier fails on columns a, b (ValueError: No neighbors",
    ),
    "predictions that are not finite": (
        lambda: with_attributes(regressor(), intercept_=np.inf),
        "output for example row 0 is not a finite number. The row may be far",
    ),
    "a function that is not of a library": (
        lambda: make_pipeline(FunctionTransformer(np.load), LogisticRegression()),
        "numpy.load may not be part of a model. Instead of",
    ),
    "types to review": (
        lambda: make_pipeline(transformers.Held(), LogisticRegression()).fit(ROWS, SIDES),
        f"Then add: --trust {HELD}",
    ),
    "more columns": (
        lambda: LinearRegression().fit(np.c_[ROWS, ROWS], ROWS),
        "takes 4 columns and the examples have 2: a, b.",
    ),
    "other columns": (
        lambda: with_attributes(regressor(), feature_names_in_=np.array(["a", "z"], dtype=object)),
        "lack columns of the model: z.",
    ),
    "an estimator that skops cannot write": (
        lambda: with_attributes(regressor(), other=np.array([(1, None)], dtype="i,O")),
        "skops, the format that the service reads, cannot hold the model (",
    ),
}


@pytest.mark.parametrize("name", INVALID_OBJECTS)
def test_an_object_that_cannot_be_served_is_an_error(
    name: str, tmp_path: Path, examples: Path
) -> None:
    make, text = INVALID_OBJECTS[name]
    assert text in package_error(dump_model(tmp_path, make()), examples)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (("xgboost.core", "Booster"), "a native Booster of xgboost. Load its own file into the "),
        (("lightgbm.basic", "Booster"), "a native Booster of lightgbm. Fit LGBMClassifier or "),
        (("keras.src.models.sequential", "Sequential"), "a Sequential of Keras. Estimators of "),
        (("torch.nn.modules.linear", "Linear"), "a Linear of PyTorch. Estimators of scikit-learn"),
    ],
)
def test_a_model_of_another_library_is_named(kind: tuple[str, str], text: str) -> None:
    module, name = kind
    model = type(name, (), {"__module__": module, "predict": lambda _self, rows: rows})()
    assert str(cannot_predict(model)).startswith(text)


def test_a_native_booster_is_an_error_before_its_types_are_reviewed(
    tmp_path: Path, examples: Path
) -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({}, xgboost.DMatrix(ROWS, ROWS[:, 0]), 1)
    assert "a native Booster of xgboost" in package_error(dump_model(tmp_path, booster), examples)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("missing.joblib", None, "is not a file."),
        ("model.onnx", b"x", "is a model of ONNX, by its suffix. Package it: --runtime onnx"),
        ("model.ubj", b"x", "is a native Booster of XGBoost, by its suffix. Estimators of"),
        ("model.bin", b"x", "has the suffix .bin, which does not say what it holds. If joblib"),
        ("model.sav", b"x", "has the suffix .sav, which does not say what it holds. If joblib"),
        ("model", b"x", "has no suffix that would say what it holds. If joblib or pickle wrote"),
        ("model.pkl", b"", "is empty. Save the model again, or copy the whole file."),
        ("model.joblib", LFS_POINTER, "is a Git LFS pointer. Run `git lfs pull`."),
        ("model.skops", LFS_POINTER, "is a Git LFS pointer. Run `git lfs pull`."),
        ("model.pkl", b"<html>", "is a web page or other markup. Download the file itself."),
        ("model.skops", b"<html>", "is a web page or other markup. Download the file itself."),
        ("model.pkl", b'{"a": 1}', "is JSON text, and not a pickle. Estimators of scikit-learn"),
        ("model.pkl", b"PK\x03\x04", "is a zip archive, as PyTorch and Keras write it, and not"),
        ("model.pkl", b"\x80\x04\x95", "is damaged, or joblib and pickle of this environment"),
        ("model.skops", b"PK", "is damaged, or not a file of skops (BadZipFile"),
        ("model.pickle", b"cnowhere\nNothing\n.", "needs the module nowhere, which is not inst"),
        ("model.pickle", b"ctorch.nn\nLinear\n.", "holds a model of PyTorch. Estimators of sc"),
        ("model.pickle", b"csklearn.no\nOld\n.", "needs sklearn.no, which the installed scikit-"),
        ("model.pickle", b"c__main__\nAdder\n.", "holds a class of the script or notebook that"),
        ("a\nb\x1b[2J.pkl", b"", "a\\nb\\x1b[2J.pkl"),
    ],
)
def test_a_file_without_an_estimator_is_an_error(
    name: str, data: bytes | None, text: str, tmp_path: Path, examples: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert text in package_error(tmp_path / name, examples)


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
            ([VALUES[0], {"a": 1, "b": value}], "example row 1: column b is null")
            for value in (None, float("nan"))
        ],
        ([{"a": "x", "b": 1}, {"a": 1, "b": 1}], "example row 1: column a must be a string"),
        ([{"a": True, "b": 1}, {"a": "", "b": 1}], "example row 1: column a must be true or false"),
        ([VALUES[0], None], "no rows of named columns"),
    ],
)
def test_rows_that_the_model_does_not_accept_are_an_error(rows: Any, text: str, file: Path) -> None:
    assert text in package_error(file, write_rows(file.parent, rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "example row 1 has other columns"),
        ("a,b\n1,2,3\n", "example row 0 has other columns"),
        ("a,b\n1,2\n1\n", "example row 1: column b is null"),
        ("a,b\n1,\n1,2\n", "example row 0: column b is null"),
        ("1.5,2.5\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_tables_that_the_model_does_not_accept_are_an_error(
    text: str, message: str, file: Path
) -> None:
    (file.parent / "rows.csv").write_text(text)
    assert message in package_error(file, file.parent / "rows.csv")


def test_texts_for_a_model_of_numbers_are_an_error(file: Path) -> None:
    pytest.importorskip("pandas")
    (file.parent / "rows.csv").write_text("a,b\n1,2\n1,left\n")
    text = package_error(file, file.parent / "rows.csv")
    assert "fails on example row 1: column b is 'left', and the model takes a number there" in text
    assert "(ValueError: could not convert string to float: 'left'). Correct the rows" in text


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"city": "never"}, "column city is 'never', which the model does not know (ValueError: "),
        ({"b": "x"}, "column b is 'x', and the model takes a number there (ValueError: "),
        ({"a": "x", "b": "y"}, "column a is 'x', and the model takes a number there (ValueError: "),
    ],
)
def test_the_cell_because_of_which_a_model_fails_is_named(
    cells: dict[str, str], text: str, tmp_path: Path
) -> None:
    frame = pytest.importorskip("pandas").DataFrame(VALUES).assign(city=SIDES)
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    estimator = make_pipeline(columns, LogisticRegression()).fit(frame, SIDES)
    rows = [row | cells for row in frame.to_dict("records")]
    file = dump_model(tmp_path, estimator)
    assert f"fails on example row 0: {text}" in package_error(
        file, write_rows(tmp_path, rows), trusted_types=["numpy.dtype"]
    )


def test_the_columns_that_the_examples_have_are_shown(tmp_path: Path) -> None:
    file = dump_model(
        tmp_path, with_attributes(regressor(), feature_names_in_=np.array(["a", "b"]))
    )
    rows = [{"a": 1.0, "b ": 2.0}]
    assert "lack columns of the model: b. They have a, 'b '. Rename them" in package_error(
        file, write_rows(tmp_path, rows)
    )


def test_a_part_that_fails_on_any_row_is_named(tmp_path: Path, examples: Path) -> None:
    picker = ColumnTransformer([("a", "passthrough", ["z"])])
    picker.fit(pytest.importorskip("pandas").DataFrame({"z": [1.0]}))
    estimator = Pipeline(
        [("rows", FunctionTransformer()), ("pick", picker), ("model", classifier())]
    )
    text = package_error(dump_model(tmp_path, estimator), examples)
    assert (
        "fails on example row 0: its ColumnTransformer fails on columns a, b (ValueError: " in text
    )
    assert text.endswith(
        "Give the columns that the model was fitted on, in their order: --columns A,B."
    )


def test_missing_examples_are_an_error(file: Path) -> None:
    assert "cannot read" in package_error(file, file.parent / "none.csv")


@pytest.mark.parametrize(
    "option", [{"name": ""}, {"name": "a\nb"}, {"version": ""}, {"version": "v" * 201}]
)
def test_an_invalid_name_or_version_is_an_error(
    option: dict[str, str], file: Path, examples: Path
) -> None:
    (name,) = option
    assert package_error(file, examples, **option).startswith(f"{name} is invalid: ")


@pytest.mark.parametrize("kind", ["os.system", "numpy.load", f"{transformers.__name__}.No"])
def test_a_type_that_is_never_trusted_is_an_error_before_any_file_is_read(
    kind: str, tmp_path: Path
) -> None:
    text = package_error(tmp_path / "none.pkl", tmp_path / "none.csv", trusted_types=[TREE, kind])
    assert text.startswith(f"{kind} may not be part of a model. ")


# --- releases ---


@pytest.mark.parametrize("kind", ["joblib", "skops"])
@pytest.mark.parametrize("bound", ["", ">=1.4", "<1.1"])
@pytest.mark.parametrize("shift", [0, 1, -1])
def test_an_estimator_of_another_minor_release_is_an_error(  # noqa: PLR0917
    kind: str,
    shift: int,
    bound: str,
    tmp_path: Path,
    examples: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """bound: of the engine's distribution on scikit-learn, if it is installed."""
    required = [f"scikit-learn{bound}"] if bound else []
    monkeypatch.setattr(versions, "requires", lambda _: required)
    estimator = classifier()
    file = tmp_path / f"model.{kind}"
    major, minor, *_ = sklearn.__version__.split(".")
    other = f"{major}.{int(minor) + shift}.99"
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.base, "__version__", other)
        (joblib if kind == "joblib" else skops.io).dump(estimator, file)
    if shift == 0:
        assert package_and_load(file, examples).built_with["scikit-learn"] == sklearn.__version__
    else:
        text = package_error(file, examples)
        assert other in text
        assert sklearn.__version__ in text
        command = f"uv add 'scikit-learn~={major}.{int(minor) + shift}.0'"
        assert (command in text) == (bound != "<1.1")
        assert ("Fit the model again with the installed release" in text) == (bound == "<1.1")


# --- the manifest ---


def test_golden_examples_come_from_all_over_a_sorted_file(file: Path, examples: Path) -> None:
    manifest = package_and_load(file, examples)
    numbers = [VALUES.index(example.input) for example in manifest.examples]
    assert numbers == [0, 1, 3, 5, 7, 9, 11, 13]
    few = package_and_load(file, write_rows(file.parent, VALUES[:3])).examples
    assert [example.input for example in few] == VALUES[:3]


def test_golden_examples_hold_the_predictions_of_the_estimator(file: Path, examples: Path) -> None:
    estimator = classifier()
    for example in package_and_load(file, examples).examples:
        row = [list(example.input.values())]
        assert example.output["label"] == estimator.predict(row)[0]
        expected = dict(zip(estimator.classes_, estimator.predict_proba(row)[0], strict=True))
        assert example.output["probabilities"] == pytest.approx(expected)


def test_whole_numbers_of_examples_count_as_floats(tmp_path: Path) -> None:
    estimator = LinearRegression().fit([[0, 1], [1, 0], [2, 2]], [0, 1, 2])
    manifest = package_and_load(
        dump_model(tmp_path, estimator),
        write_rows(tmp_path, [{"a": 1, "b": -2}, {"a": 2, "b": 2.5}]),
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
def test_labels_become_values_of_json(
    labels: Any, classes: list[Any], tmp_path: Path, examples: Path
) -> None:
    file = dump_model(tmp_path, LogisticRegression().fit(ROWS, labels))
    recorded = package_and_load(file, examples).signature.classes
    assert recorded == classes
    assert [type(label) for label in recorded or ()] == [type(label) for label in classes]


@pytest.mark.parametrize(
    ("target", "outputs"),
    [(ROWS[:, :1], None), (ROWS[:, 0], None), (ROWS, ["output_0", "output_1"])],
)
def test_outputs_of_a_regressor_are_counted(
    target: Any, outputs: list[str] | None, tmp_path: Path, examples: Path
) -> None:
    manifest = package_and_load(
        dump_model(tmp_path, LinearRegression().fit(ROWS, target)), examples
    )
    assert manifest.signature.outputs == outputs
    assert isinstance(manifest.examples[0].output, float if outputs is None else list)


def test_the_best_estimator_of_a_search_is_packaged(tmp_path: Path, examples: Path) -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(ROWS, SIDES)
    assert package_and_load(dump_model(tmp_path, search), examples).artifact.trusted_types == []


def test_reviewed_types_are_recorded(tmp_path: Path, examples: Path) -> None:
    tree = DecisionTreeClassifier().fit(ROWS, SIDES)
    manifest = package_and_load(dump_model(tmp_path, tree), examples, trusted_types=[TREE])
    assert manifest.artifact.trusted_types == [TREE]


def test_an_estimator_fitted_on_a_data_frame_knows_its_columns(tmp_path: Path) -> None:
    """The examples may have them in another order, and may have other columns."""
    pandas = pytest.importorskip("pandas")
    steps = ColumnTransformer([("one", StandardScaler(), ["a"])], remainder="passthrough")
    estimator = make_pipeline(steps, LogisticRegression())
    estimator.fit(pandas.DataFrame(ROWS, columns=["b", "a"]), SIDES)
    rows = [{"side": "left", "a": row["b"], "b": row["a"]} for row in VALUES]
    manifest = package_and_load(dump_model(tmp_path, estimator), write_rows(tmp_path, rows))
    assert manifest.signature.columns == ["b", "a"]


def test_names_of_columns_are_recorded_without_pandas(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(examples_module, "import_module", missing)
    names = np.array(["b", "a"], dtype=object)
    estimator = make_pipeline(
        StandardScaler(), with_attributes(classifier(), feature_names_in_=names)
    )
    estimator[0].fit(ROWS).feature_names_in_ = names
    file = dump_model(tmp_path, estimator)
    assert package_and_load(file, examples).signature.columns == ["b", "a"]


def test_warnings_of_a_model_do_not_change_its_probes() -> None:
    def predict(rows: Any) -> Outputs:
        warnings.warn("as forests do in several threads", stacklevel=1)
        return Outputs(np.array(rows)[:, 0])

    assert probe(predict, ROWS.tolist(), SIGNATURE) == {
        "thread_safe": True,
        "row_independent": True,
    }


@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        (lambda rows: np.array(rows)[:, 0] - np.mean(rows), (True, False)),
        (lambda rows: np.arange(len(rows)) * 1.0, (True, False)),
        (lambda rows: np.array(rows)[:, 0] + threading.get_ident() * 1e-6, (False, True)),
    ],
)
def test_probes_detect_predictions_that_depend_on_other_rows_or_the_thread(
    predict: Callable[[Any], Any], expected: tuple[bool, bool]
) -> None:
    probes = probe(lambda rows: Outputs(predict(rows)), ROWS.tolist(), SIGNATURE)
    assert (probes["thread_safe"], probes["row_independent"]) == expected


FRAME = Signature(
    layout="frame",
    inputs=[Column(name="n", dtype="int64", nullable=True), Column(name="text", dtype="string")],
    task="regression",
)


@pytest.mark.parametrize(
    "unusual",
    [
        lambda number, _: number is None,
        lambda number, _: number is not None and number > 2**60,
        lambda number, _: number is not None and number < -(2**60),
        lambda _, text: UNSEEN in text,
        lambda _, text: len(text) > 10_000,
    ],
)
def test_a_neighbour_that_no_example_is_like_may_not_change_a_prediction(
    unusual: Callable[[Any, str], bool],
) -> None:
    """The predictions for the examples depend on other rows only if one of those is unusual."""

    def predict(rows: Any) -> Outputs:
        shift = any(unusual(*row) for row in rows)
        return Outputs(np.array([len(text) + shift for _, text in rows], dtype=np.float64))

    rows = [[1, "red"], [2, "blue"]]
    assert not probe(predict, rows, FRAME)["row_independent"]
    assert predict(rows).values.tolist() == [3, 4]


# --- skops files ---


def test_a_skops_file_is_packaged(tmp_path: Path, examples: Path, caplog: Any) -> None:
    skops.io.dump(classifier(), tmp_path / "own.skops")
    package_and_load(tmp_path / "own.skops", examples)
    assert not caplog.records, "only pickles run code"


def test_a_skops_file_with_types_that_were_not_reviewed_is_an_error(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.skops"
    own = make_pipeline(transformers.Held(), LogisticRegression()).fit(ROWS, SIDES)
    skops.io.dump(own, file)
    with monkeypatch.context() as patched:
        patched.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("the object was built"))
        assert f"Then add: --trust {HELD}" in package_error(file, examples)
    package_and_load(file, examples, trusted_types=[HELD])
    skops.io.dump([os.getcwd], file)
    assert "getcwd may not be part of a model" in package_error(file, examples)


# --- the directory ---


@pytest.fixture
def old(file: Path, examples: Path) -> Path:
    """A directory with a model and another file."""
    package_and_load(file, examples, version="old")
    (file.parent / "model" / "README.md").write_text("mine")
    return file.parent / "model"


def failing(*_: object, **__: object) -> Any:
    raise GoldenExampleMismatch("another prediction")


def test_the_old_model_stays_if_the_new_one_fails_a_check(
    old: Path, file: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "load_directory", failing)
    assert "the model cannot be served: another prediction." in package_error(file, examples)
    assert load_directory(old, 2**24).manifest.version == "old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["model.skops", "manifest.json"])
def test_the_old_model_is_restored_if_replacing_it_fails(
    name: str, error: BaseException, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = old.parent / "model.joblib"
    examples = old.parent / "rows.json"
    replace = Path.replace

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
    assert load_directory(old, 2**24).manifest.version == "new"
    assert (old / "README.md").read_text() == "mine"


def test_new_directories_are_removed_after_an_error(
    file: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = file.parent / "a" / "b"
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "load_directory", failing)
        with pytest.raises(UsageError):
            package(file, examples, deep, name="test", version="1")
    assert not deep.parent.exists()
    package(file, examples, deep, name="test", version="1")
    assert load_directory(deep, 2**24)


def test_the_staging_folder_of_a_killed_process_is_removed_after_an_hour(
    file: Path, examples: Path
) -> None:
    directory = file.parent / "model"
    for name in (".package-killed", ".package-at-work"):
        (directory / name).mkdir(parents=True)
        (directory / name / "model.skops").write_bytes(b"part")
    two_hours_ago = time.time() - 7200
    os.utime(directory / ".package-killed", (two_hours_ago, two_hours_ago))
    package(file, examples, directory)
    assert [path.name for path in directory.glob(".package-*")] == [".package-at-work"]


def test_a_file_in_place_of_the_directory_is_an_error(file: Path, examples: Path) -> None:
    (file.parent / "model").touch()
    assert "cannot write" in package_error(file, examples)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_umask_decides_who_may_read_the_model(file: Path, examples: Path) -> None:
    before = os.umask(0o022)
    try:
        package_and_load(file, examples)
    finally:
        os.umask(before)
    directory = file.parent / "model"
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o644}
    assert directory.stat().st_mode & 0o777 == 0o755


# --- classes of transformers.py ---


class Shifted(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer that a service defines."""

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
    file = dump_model(tmp_path, estimator)
    name = f"{transformers.__name__}.Shifted"
    assert f"Then add: --trust {name}" in package_error(file, examples)
    assert package_and_load(file, examples, trusted_types=[name]).artifact.trusted_types == [name]
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        response = client.post("/predict", json={"instances": VALUES}).json()
    labels = [prediction["label"] for prediction in response["predictions"]]
    assert labels == estimator.predict(ROWS).tolist()


def test_the_commands_package_check_and_predict(tmp_path: Path) -> None:
    """In a copy of the example service, whose transformers.py defines a class of the model."""
    copy = tmp_path / "project" / "own_service"
    shutil.copytree(Path(transformers.__file__).parent, copy)
    with (copy / "transformers.py").open("a") as source:
        source.write(
            "\n\nfrom sklearn.preprocessing import StandardScaler\n\n"
            "class Scaled(StandardScaler):\n    pass\n"
        )
    with (tmp_path / "rows.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["a", "b"], *ROWS[:10].tolist()])
    script = """
import os, sys
import joblib, numpy
os.chdir(sys.argv[1])
sys.path.insert(0, os.path.abspath("project"))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:1] + [os.environ["PYTHONPATH"]])
sys.stderr = open("errors.txt", "w", buffering=1)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from serving_engine import Service, run_command_line
from own_service.transformers import Scaled

rows = numpy.loadtxt("rows.csv", delimiter=",", skiprows=1)
joblib.dump(make_pipeline(Scaled(), LinearRegression()).fit(rows, rows[:, 0]), "own.joblib")
own = ["--trust", "own_service.transformers.Scaled"]
for command in (
    ["model", "package", "own.joblib", "--examples", "rows.csv"],
    ["model", "package", "own.joblib", "--examples", "rows.csv", *own],
    ["check"],
    ["predict", "rows.csv"],
):
    try:
        run_command_line(Service("own_service"), command)
    except SystemExit as end:
        print("code", end.code, flush=True)
"""
    output = run_script(script, tmp_path)
    errors = (tmp_path / "errors.txt").read_text().splitlines()
    progress = [line for line in errors if line.startswith("- ")]
    warning, review_error, second_warning = (line for line in errors if line not in progress)
    assert progress[0] == "- reading own.joblib"
    assert progress[-1] == "- checking the new model in a new process"
    assert warning == second_warning
    assert "own.joblib runs the code in it" in warning
    assert "Then add: --trust own_service.transformers.Scaled" in review_error
    failed, packaging, checking, (*predictions, last) = commands(output)
    assert [part[-1] for part in (failed, packaging, checking)] == ["code 2", "code 0", "code 0"]
    assert packaging[0] == f"packaged {Path('model') / 'manifest.json'}"
    assert packaging[1].split() == ["column", "type", "null", "observed"]
    assert packaging[2].split()[:3] == ["a", "float64", "no"]
    for lines in (packaging[5:], checking):
        assert lines[0] == "ok: own 1 in model may be served"
        assert [line.partition(":")[0] for line in lines[1:-1]] == [
            "by",
            "size",
            "time",
            "thread_safe",
            "row_independent",
        ]
    assert last == "code 0"
    assert [float(value) for value in predictions] == pytest.approx(ROWS[:10, 0].tolist())


def commands(output: str) -> list[list[str]]:
    """The output lines of each command; the last one is its exit code."""
    parts: list[list[str]] = [[]]
    for line in output.splitlines():
        parts[-1].append(line)
        if line.startswith("code "):
            parts.append([])
    return parts[:-1]


def test_reading_a_pickle_logs_a_warning(
    file: Path, examples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package_and_load(file, examples)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "runs the code in it" in record.getMessage()
