"""What runs a loaded estimator: which types it may have, and that its answers are its own."""

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

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }} import transformers
from {{ cookiecutter.__package_name }}.artifact import refusals
from {{ cookiecutter.__package_name }}.artifact.load import load_model
from {{ cookiecutter.__package_name }}.artifact.runtimes import estimator as estimator_module
from {{ cookiecutter.__package_name }}.artifact.runtimes import scikit_learn, settle, trust
from {{ cookiecutter.__package_name }}.artifact.runtimes.skops_files import untrusted_types
from {{ cookiecutter.__package_name }}.schema.signature import Column, Signature

from .models import package_estimator

TRANSFORMERS = transformers.__name__

# --- trust ---


class Doubled(StandardScaler):  # type: ignore[misc]
    """A transformer of one's own."""

    def transform(self, X: Any, copy: Any = None) -> Any:  # noqa: N803, ARG002
        return np.asarray(X) * 2


def double(rows: Any) -> Any:
    return rows * 2


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """`Doubled` as if transformers.py defined it, and `double` too; what it imports besides."""
    for thing in (Doubled, double):
        monkeypatch.setattr(thing, "__module__", TRANSFORMERS)
        monkeypatch.setattr(transformers, thing.__name__, thing, raising=False)
    monkeypatch.setattr(transformers, "Popen", subprocess.Popen, raising=False)
    return f"{TRANSFORMERS}.Doubled"


def test_a_class_that_transformers_defines_may_be_trusted(own: str) -> None:
    trust.check_trusted([own, *trust.REVIEWED])


@pytest.mark.parametrize(
    "name",
    [
        f"{TRANSFORMERS}.Popen",
        f"{TRANSFORMERS}.double",
        f"{TRANSFORMERS}.Missing",
        f"{TRANSFORMERS}.sub.Doubled",
        f"{TRANSFORMERS}x.Doubled",
        "builtins.eval",
        "os.system",
        "functools.partial",
        "Doubled",
        "",
    ],
)
@pytest.mark.usefixtures("own")
def test_nothing_else_may_be_trusted(name: str) -> None:
    with pytest.raises(refusals.UntrustedTypes):
        trust.check_trusted([name])


def test_a_transformers_module_that_cannot_be_imported_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(package, "transformers")
    monkeypatch.setitem(sys.modules, TRANSFORMERS, None)
    with pytest.raises(refusals.UntrustedTypes, match="cannot be imported"):
        trust.check_trusted([f"{TRANSFORMERS}.Doubled"])
    with pytest.raises(refusals.UntrustedTypes, match="may not be part of a model"):
        trust.check_trusted(["os.system"])


def test_reviewed_types_exist_and_are_data() -> None:
    for name in trust.REVIEWED:
        module, _, attribute = name.rpartition(".")
        optional = module.partition(".")[0] in scikit_learn.LIBRARIES
        if optional and find_spec(module.partition(".")[0]) is None:
            continue
        kind = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert isinstance(kind, type)


# --- the estimator ---


def served(estimator: Any, columns: int = 2, **about: Any) -> scikit_learn.Estimator:
    """The estimator after a round trip through a skops file, as it is served."""
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
    return scikit_learn.load(data, Signature(**fields | about), types)


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
def test_labels_of_any_type_are_the_estimators_own(kind: Any, labels: Any) -> None:
    options = {"n_estimators": 3} if kind is RandomForestClassifier else {}
    estimator = kind(**options).fit(ROWS, labels)
    outputs = served(estimator)(ROWS.tolist())
    assert np.array_equal(estimator.classes_[outputs.values], estimator.predict(ROWS))


def test_where_probabilities_tie_the_estimator_decides() -> None:
    linear = LogisticRegression().fit([[0, 0], [1, 1]], [0, 1])
    linear.coef_[:], linear.intercept_[:] = 0, 1e-18
    boosted = GradientBoostingClassifier(n_estimators=2).fit(np.zeros((4, 2)), [0, 1, 0, 1])
    for estimator in (linear, boosted, make_pipeline(make_pipeline(linear))):
        assert estimator.predict_proba([[0, 0]]).tolist() == [[0.5, 0.5]]
        assert estimator.predict([[0, 0]]).tolist() == [1]
        model = served(estimator)
        assert model([[0, 0]]).values.tolist() == [1]
        model.shorten([[0, 0], [1, 1]])
        assert model([[0, 0]]).values.tolist() == [1]


def test_one_call_gives_labels_and_probabilities() -> None:
    estimator = make_pipeline(make_pipeline(StandardScaler(), LogisticRegression()))
    expected = estimator.fit(ROWS, SIDES).predict(ROWS)
    model = served(estimator)
    model._estimator.predict = lambda _: pytest.fail("a second call")
    assert np.array_equal(model(ROWS.tolist()).values, expected)


def test_a_class_of_ones_own_decides_for_itself() -> None:
    class LogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])

        def predict_proba(self, rows: Any) -> Any:
            return np.tile([0.9, 0.1], (len(rows), 1))

        def predict(self, rows: Any) -> Any:
            return np.ones(len(rows), dtype=int)

    about = Signature(
        layout="array",
        inputs=[Column(name="a")],
        task="classification",
        classes=[0, 1],
        probabilities=True,
    )
    assert scikit_learn.Estimator(LogisticRegression(), about)([[0]]).values.tolist() == [1]


def test_a_label_that_is_none_of_the_classes_is_an_error() -> None:
    estimator = SVC().fit(ROWS, SIDES)
    model = served(estimator)
    model._estimator.predict = lambda rows: np.full(len(rows), 7)
    with pytest.raises(ValueError, match="none of its classes"):
        model([[0, 0]])


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_a_column_of_one_output_is_a_number(shape: tuple[int, ...]) -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0].reshape(shape))
    assert served(estimator)(ROWS.tolist()).values.shape == (40,)


def test_several_outputs_are_columns() -> None:
    estimator = RandomForestRegressor(3).fit(ROWS, ROWS)
    values = served(estimator, outputs=["x", "y"])(ROWS.tolist()).values
    assert np.array_equal(values, estimator.predict(ROWS))


def test_everything_that_runs_runs_in_one_thread_and_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forests = [("a", RandomForestClassifier(3)), ("b", ExtraTreesClassifier(3))]
    estimator = make_pipeline(StandardScaler(), VotingClassifier(forests, voting="soft"))
    expected = estimator.fit(ROWS, SIDES).predict_proba(ROWS)
    for part in settle.parts(estimator):
        for name, value in (("n_jobs", 2), ("verbose", 3)):
            if hasattr(part, name):
                setattr(part, name, value)
    model = served(estimator)
    capfd.readouterr()
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    assert np.array_equal(model(ROWS.tolist()).probabilities, expected)
    assert capfd.readouterr() == ("", "")
    jobs = [part.n_jobs for part in settle.parts(model._estimator) if hasattr(part, "n_jobs")]
    assert len(jobs) > 3
    assert set(jobs) == {1}


def test_every_object_of_a_model_is_found_once() -> None:
    leaves = [StandardScaler() for _ in range(7)]
    array = np.empty((1, 2), dtype=object)
    array[0, :] = leaves[5:7]
    whole = make_pipeline(leaves[0])
    whole.more = {"a": [leaves[1]], "b": (leaves[2], {leaves[3]}), "c": frozenset({leaves[4]})}
    whole.array, whole.numbers, whole.kind, whole.again = array, np.zeros(3), StandardScaler, whole
    found = list(itertools.islice(settle.parts(whole), 100))
    assert sorted(map(id, found)) == sorted(map(id, [whole, *leaves]))


def test_a_class_of_ones_own_keeps_its_names() -> None:
    own = Doubled()
    own.feature_names_in_ = ["a", "b"]
    settle.settle([own])
    assert own.feature_names_in_ == ["a", "b"]


def test_a_column_that_is_chosen_alone_stays_a_column() -> None:
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
    settle.settle(estimator)
    assert estimator.predict(ROWS) == pytest.approx(ROWS[:, 1])


def test_names_of_columns_cause_no_warning_and_change_no_answer() -> None:
    """Names as a DataFrame leaves them, in the estimator and in every one inside of it."""
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(ROWS, SIDES)
    expected = estimator.predict_proba(ROWS)
    for part in settle.parts(estimator):
        if hasattr(part, "n_features_in_") and not isinstance(part, Pipeline):
            part.feature_names_in_ = np.array(["a", "b"], dtype=object)
    assert np.array_equal(served(estimator)(ROWS.tolist()).probabilities, expected)


@pytest.mark.parametrize("columns", ["names", "one name", "slices", "positions"])
@pytest.mark.parametrize("frames_inside", [False, True])
def test_columns_that_are_chosen_by_name_are_found_by_place(
    columns: str, frames_inside: bool
) -> None:
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
    model = served(estimator, columns=4)
    assert np.array_equal(model(rows.tolist()).probabilities, estimator.predict_proba(frame))


def test_columns_in_another_order_than_the_estimators_are_refused() -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0])
    estimator.feature_names_in_ = np.array(["b", "a"], dtype=object)
    with pytest.raises(refusals.WrongShape, match="another order"):
        served(estimator)


def test_arithmetic_that_fails_is_left_to_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, 0])
    model = served(estimator)
    monkeypatch.setattr(estimator_module, "direct", lambda *_: 1 / 0)
    model.shorten(ROWS.tolist())
    assert np.array_equal(model(ROWS.tolist()).values, estimator.predict(ROWS))


def test_numbers_that_overflow_cause_no_warning() -> None:
    model = served(PoissonRegressor().fit(ROWS, np.exp(ROWS[:, 0])))
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
def test_a_packaged_estimator_gives_its_own_answers(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(ROWS, SIDES)
    types = untrusted_types(skops.io.dumps(estimator))
    directory = package_estimator(
        estimator, ["a", "b"], ROWS[:10], tmp_path / "model", trusted_types=types
    )
    loaded = load_model(directory, 2**24)
    outputs = loaded.predict(ROWS.tolist())
    labels = loaded.manifest.signature.classes
    values = outputs.values if labels is None else np.array(labels)[outputs.values]
    assert np.array_equal(values, estimator.predict(ROWS))
    if hasattr(estimator, "predict_proba"):
        assert np.array_equal(outputs.probabilities, estimator.predict_proba(ROWS))
