"""The served estimator: trusted types, and predictions equal to those of the estimator."""

import itertools
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from serving_engine.model_files import load_errors
from serving_engine.runtimes.scikit_learn import estimator as estimator_module
from serving_engine.runtimes.scikit_learn import loading, prepare, trusted_types
from serving_engine.runtimes.scikit_learn.skops_io import untrusted_types
from serving_engine.runtimes.versions import LIBRARIES
from serving_engine.schema.signature import Column, Signature
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from .example_service import transformers
from .models import load_directory, package_estimator

TRANSFORMERS = transformers.__name__

# --- trusted types ---


class Doubled(StandardScaler):  # type: ignore[misc]
    """A transformer that a service defines."""

    def transform(self, X: Any, copy: Any = None) -> Any:  # noqa: N803, ARG002
        return np.asarray(X) * 2


def double(rows: Any) -> Any:
    return rows * 2


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of `Doubled` in a transformers.py that defines `Doubled` and `double`, imports
    `Popen`, and lists a type of another library."""
    for thing in (Doubled, double):
        monkeypatch.setattr(thing, "__module__", TRANSFORMERS)
        monkeypatch.setattr(transformers, thing.__name__, thing, raising=False)
    monkeypatch.setattr(transformers, "Popen", subprocess.Popen, raising=False)
    monkeypatch.setattr(transformers, "TRUSTED", ["library.Encoder"], raising=False)
    return f"{TRANSFORMERS}.Doubled"


def test_what_transformers_defines_or_lists_may_be_trusted(doubled: str) -> None:
    own = [doubled, f"{TRANSFORMERS}.double", "library.Encoder"]
    trusted_types.check_trusted([*own, *trusted_types.REVIEWED], TRANSFORMERS)


@pytest.mark.parametrize(
    "name",
    [
        "numpy.log1p",
        "numpy.clip",
        "numpy.number",
        "numpy.float32",
        "scipy.special.expit",
        "sklearn.tree._tree.Tree",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._classification.f1_score",
        "sklearn.feature_selection._univariate_selection.chi2",
        "serving_engine.runtimes.scikit_learn.text_functions.split",
    ],
)
def test_what_computes_in_scikit_learn_numpy_and_scipy_needs_no_review(name: str) -> None:
    assert trusted_types.is_part_of_a_library(name)


@pytest.mark.parametrize(
    "name",
    [
        "numpy.load",
        "numpy.save",
        "numpy.fromfile",
        "numpy.memmap",
        "numpy.vectorize",
        "numpy.frompyfunc",
        "numpy.ctypeslib",
        "numpy.f2py.compile",
        "numpy.testing.measure",
        "scipy.special.os",
        "scipy.io.loadmat",
        "sklearn.metrics._scorer.partial",
        "sklearn.datasets._base.load_files",
        "sklearn.datasets._openml.fetch_openml",
        "sklearn.tree._export.export_graphviz",
        "sklearn.utils._testing.TempMemmap",
        "sklearn.externals.joblib.load",
        "sklearn.preprocessing._data.np",
        "serving_engine.runtimes.scikit_learn.text_functions.__builtins__",
        "builtins.eval",
        "builtins.open",
        "operator.methodcaller",
    ],
)
def test_what_reads_writes_or_calls_is_no_part_of_a_model(name: str) -> None:
    assert not trusted_types.is_part_of_a_library(name)


@pytest.mark.parametrize(
    "name",
    [
        f"{TRANSFORMERS}.Popen",
        f"{TRANSFORMERS}.Missing",
        f"{TRANSFORMERS}.sub.Doubled",
        f"{TRANSFORMERS}x.Doubled",
        f"{TRANSFORMERS}.<lambda>",
        "builtins.eval",
        "os.system",
        "Doubled",
        "",
    ],
)
@pytest.mark.usefixtures("doubled")
def test_no_other_type_may_be_trusted(name: str) -> None:
    with pytest.raises(load_errors.UntrustedTypes):
        trusted_types.check_trusted([name], TRANSFORMERS)


def test_a_transformers_module_that_cannot_be_imported_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, TRANSFORMERS, None)
    with pytest.raises(load_errors.UntrustedTypes, match="cannot be imported"):
        trusted_types.check_trusted([f"{TRANSFORMERS}.Doubled"], TRANSFORMERS)


def test_reviewed_types_exist() -> None:
    for name in trusted_types.REVIEWED:
        module, _, attribute = name.rpartition(".")
        optional = module.partition(".")[0] in LIBRARIES
        if optional and find_spec(module.partition(".")[0]) is None:
            continue
        kind = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert callable(kind)


# --- predictions ---


def serve(estimator: Any, columns: int = 2, **signature: Any) -> estimator_module.ServedEstimator:
    """The served estimator, after a round trip through a skops file."""
    classes = getattr(estimator, "classes_", None)
    fields: dict[str, Any] = {
        "layout": "array",
        "inputs": [Column(name=name) for name in "abcdef"[:columns]],
        "task": "regression" if classes is None else "classification",
        "classes": None if classes is None else classes.tolist(),
        "probabilities": hasattr(estimator, "predict_proba"),
    }
    data = skops.io.dumps(estimator)
    types = untrusted_types(data)
    estimator = loading.parse(data, types, TRANSFORMERS)
    return loading.wrap_estimator(estimator, Signature(**fields | signature))


ROWS = np.random.default_rng(0).normal(size=(40, 2))
SIDES = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int) + (ROWS[:, 0] > 1)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["lo", "mid", "up"])[SIDES],
        np.array(["up", "mid", "lo"], dtype=object)[SIDES],
        SIDES - 1,
        SIDES > 0,
        SIDES.astype(np.uint8),
    ],
    ids=["text", "objects", "integers", "booleans", "bytes"],
)
@pytest.mark.parametrize("kind", [LogisticRegression, SVC, RandomForestClassifier])
def test_labels_of_any_type_are_those_of_the_estimator(kind: Any, labels: Any) -> None:
    options = {"n_estimators": 3} if kind is RandomForestClassifier else {}
    estimator = kind(**options).fit(ROWS, labels)
    outputs = serve(estimator)(ROWS.tolist())
    assert np.array_equal(estimator.classes_[outputs.values], estimator.predict(ROWS))


def test_the_estimator_decides_about_equal_probabilities() -> None:
    linear = LogisticRegression().fit([[0, 0], [1, 1]], [0, 1])
    linear.coef_[:] = 0
    linear.intercept_[:] = 1e-18
    boosted = GradientBoostingClassifier(n_estimators=2).fit(np.zeros((4, 2)), [0, 1, 0, 1])
    for estimator in (linear, boosted, make_pipeline(make_pipeline(linear))):
        assert estimator.predict_proba([[0, 0]]).tolist() == [[0.5, 0.5]]
        assert estimator.predict([[0, 0]]).tolist() == [1]
        model = serve(estimator)
        assert model([[0, 0]]).values.tolist() == [1]
        model.use_fast_path([[0, 0], [1, 1]])
        assert model([[0, 0]]).values.tolist() == [1]


@pytest.mark.parametrize("together", [False, True])
def test_only_rows_of_equal_probabilities_are_predicted_again(together: bool) -> None:
    """A forest has some in each large batch. If rows depend on each other, all are."""
    linear = LogisticRegression().fit([[-1, 0], [1, 0]], [0, 1])
    linear.coef_[:] = [[1, 0]]
    linear.intercept_[:] = 0
    rows = [[-1.0, 0], [0, 0], [1, 0], [0, 2]]
    signature = serve(linear)._signature
    model = estimator_module.ServedEstimator(linear, signature, together=together)
    calls: list[Any] = []
    linear.predict = lambda batch: calls.append(batch.tolist()) or np.ones(len(batch), int)
    assert model(rows).values.tolist() == ([1, 1, 1, 1] if together else [0, 1, 1, 1])
    assert calls == [rows if together else [rows[1], rows[3]]]


def test_one_call_gives_labels_and_probabilities() -> None:
    estimator = make_pipeline(make_pipeline(StandardScaler(), LogisticRegression()))
    expected = estimator.fit(ROWS, SIDES).predict(ROWS)
    model = serve(estimator)
    model._estimator.predict = lambda _: pytest.fail("a second call of the estimator")
    assert np.array_equal(model(ROWS.tolist()).values, expected)


def test_a_class_of_transformers_is_called_for_labels_and_for_probabilities() -> None:
    class LogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])

        def predict_proba(self, rows: Any) -> Any:
            return np.tile([0.9, 0.1], (len(rows), 1))

        def predict(self, rows: Any) -> Any:
            return np.ones(len(rows), dtype=int)

    signature = Signature(
        layout="array",
        inputs=[Column(name="a")],
        task="classification",
        classes=[0, 1],
        probabilities=True,
    )
    assert estimator_module.ServedEstimator(LogisticRegression(), signature)(
        [[0]]
    ).values.tolist() == [1]


def test_a_predicted_label_that_is_no_class_is_an_error() -> None:
    estimator = SVC().fit(ROWS, SIDES)
    model = serve(estimator)
    model._estimator.predict = lambda rows: np.full(len(rows), 7)
    with pytest.raises(ValueError, match="none of its classes"):
        model([[0, 0]])


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_a_column_of_one_output_is_a_number(shape: tuple[int, ...]) -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0].reshape(shape))
    assert serve(estimator)(ROWS.tolist()).values.shape == (40,)


def test_several_outputs_are_columns() -> None:
    estimator = RandomForestRegressor(3).fit(ROWS, ROWS)
    values = serve(estimator, outputs=["x", "y"])(ROWS.tolist()).values
    assert np.array_equal(values, estimator.predict(ROWS))


def test_every_part_of_a_model_uses_one_thread_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forests = [("a", RandomForestClassifier(3)), ("b", ExtraTreesClassifier(3))]
    estimator = make_pipeline(StandardScaler(), VotingClassifier(forests, voting="soft"))
    expected = estimator.fit(ROWS, SIDES).predict_proba(ROWS)
    for part in prepare.parts(estimator):
        for name, value in (("n_jobs", 2), ("verbose", 3)):
            if hasattr(part, name):
                setattr(part, name, value)
    model = serve(estimator)
    capfd.readouterr()
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    assert np.array_equal(model(ROWS.tolist()).probabilities, expected)
    assert capfd.readouterr() == ("", "")
    jobs = [part.n_jobs for part in prepare.parts(model._estimator) if hasattr(part, "n_jobs")]
    assert len(jobs) > 3
    assert set(jobs) == {1}


def test_every_object_of_a_model_is_found_once() -> None:
    leaves = [StandardScaler() for _ in range(7)]
    array = np.empty((1, 2), dtype=object)
    array[0, :] = leaves[5:7]
    whole = make_pipeline(leaves[0])
    whole.more = {"a": [leaves[1]], "b": (leaves[2], {leaves[3]}), "c": frozenset({leaves[4]})}
    whole.array = array
    whole.numbers = np.zeros(3)
    whole.kind = StandardScaler
    whole.again = whole
    parts = list(itertools.islice(prepare.parts(whole), 100))
    assert sorted(map(id, parts)) == sorted(map(id, [whole, *leaves]))


def test_a_class_of_transformers_keeps_the_names_of_columns() -> None:
    transformer = Doubled()
    transformer.feature_names_in_ = ["a", "b"]
    prepare.prepare([transformer])
    assert transformer.feature_names_in_ == ["a", "b"]


def test_a_column_chosen_by_its_single_name_stays_one_dimensional() -> None:
    pandas = pytest.importorskip("pandas")

    class Alone(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, column: Any, _: Any = None) -> "Alone":
            assert np.ndim(column) == 1
            return self

        def transform(self, column: Any) -> Any:
            assert np.ndim(column) == 1
            return np.reshape(column, (-1, 1))

    estimator = make_pipeline(ColumnTransformer([("one", Alone(), "b")]), LinearRegression())
    estimator.fit(pandas.DataFrame(ROWS, columns=["a", "b"]), ROWS[:, 1])
    prepare.prepare(estimator)
    assert estimator.predict(ROWS) == pytest.approx(ROWS[:, 1])


def test_names_of_columns_cause_no_warning_and_change_no_prediction() -> None:
    """With the attributes of an estimator that was fitted on a DataFrame, in each of its parts."""
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(ROWS, SIDES)
    expected = estimator.predict_proba(ROWS)
    for part in prepare.parts(estimator):
        if hasattr(part, "n_features_in_") and not isinstance(part, Pipeline):
            part.feature_names_in_ = np.array(["a", "b"], dtype=object)
    assert np.array_equal(serve(estimator)(ROWS.tolist()).probabilities, expected)


@pytest.mark.parametrize("columns", ["names", "one name", "slices", "positions"])
@pytest.mark.parametrize("frames_inside", [False, True])
def test_columns_chosen_by_name_are_found_by_position(columns: str, frames_inside: bool) -> None:
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).normal(size=(40, 4))
    chosen: Any = {
        "names": ["d", "a"],
        "one name": ["b"],
        "slices": slice("a", "c"),
        "positions": [3, 0],
    }[columns]
    steps = ColumnTransformer(
        [("one", StandardScaler(), chosen), ("two", MinMaxScaler(), ["c"])], remainder="passthrough"
    )
    estimator = make_pipeline(steps, LogisticRegression())
    if frames_inside:
        estimator = make_pipeline(MinMaxScaler(), *(step for _, step in estimator.steps))
        estimator.set_output(transform="pandas")
    frame = pandas.DataFrame(rows, columns=list("abcd"))
    estimator.fit(frame, SIDES)
    model = serve(estimator, columns=4)
    assert np.array_equal(model(rows.tolist()).probabilities, estimator.predict_proba(frame))


def test_columns_in_another_order_than_the_estimators_are_a_mismatch() -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0])
    estimator.feature_names_in_ = np.array(["b", "a"], dtype=object)
    with pytest.raises(load_errors.SignatureMismatch, match="another order"):
        serve(estimator)


def test_a_fast_path_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0])
    model = serve(estimator)
    monkeypatch.setattr(estimator_module, "fast_path", lambda *_: 1 / 0)
    model.use_fast_path(ROWS.tolist())
    assert np.array_equal(model(ROWS.tolist()).values, estimator.predict(ROWS))


def test_an_overflow_causes_no_warning() -> None:
    model = serve(PoissonRegressor().fit(ROWS, np.exp(ROWS[:, 0])))
    assert not model([[3e38, 3e38]]).finite


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        SVC(),
        SVR(),
        KNeighborsClassifier(),
        DecisionTreeClassifier(),
        RandomForestClassifier(3, n_jobs=2),
        ExtraTreesClassifier(3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_packaged_estimator_predicts_as_before(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(ROWS, SIDES)
    types = untrusted_types(skops.io.dumps(estimator))
    directory = package_estimator(
        estimator, ["a", "b"], ROWS[:10], tmp_path / "model", trusted_types=types
    )
    loaded = load_directory(directory, 2**24)
    outputs = loaded.predict(ROWS.tolist())
    labels = loaded.manifest.signature.classes
    values = outputs.values if labels is None else np.array(labels)[outputs.values]
    assert np.array_equal(values, estimator.predict(ROWS))
    if hasattr(estimator, "predict_proba"):
        assert np.array_equal(outputs.probabilities, estimator.predict_proba(ROWS))
