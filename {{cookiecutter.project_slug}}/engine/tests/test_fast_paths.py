"""Fast paths give outputs that are bit-equal to those of the estimator, or are not used."""

import warnings
from typing import Any

import numpy as np
import pytest
from serving_engine.runtimes.scikit_learn.estimator import ServedEstimator
from serving_engine.runtimes.scikit_learn.fast_paths import OutOfRange, fast_path
from serving_engine.schema.signature import Column, Signature
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeCV,
    SGDRegressor,
    TheilSenRegressor,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import LinearSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

iris = load_iris()
diabetes = load_diabetes()
BINARY = iris.target == 0

OTHER_LINEAR = [
    ARDRegression(),
    BayesianRidge(),
    ElasticNetCV(cv=2),
    HuberRegressor(),
    LassoCV(cv=2),
    LinearSVR(),
    RidgeCV(),
    SGDRegressor(),
    TheilSenRegressor(max_subpopulation=50, max_iter=5),
]
CLASSIFIERS = [
    (LogisticRegression(max_iter=500), iris.target),
    (make_pipeline(StandardScaler(), LogisticRegression()), iris.target),
    (make_pipeline(StandardScaler(with_mean=False), LogisticRegression()), BINARY),
    (make_pipeline(StandardScaler(with_std=False), LogisticRegression()), BINARY),
    (make_pipeline(RobustScaler(), LogisticRegression()), iris.target),
    (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), iris.target),
    (DecisionTreeClassifier(max_depth=3, random_state=0), iris.target),
    (ExtraTreeClassifier(max_depth=3, random_state=0), iris.target),
    (LogisticRegressionCV(cv=2, max_iter=500), iris.target),
    (RandomForestClassifier(7, max_depth=4, random_state=0), iris.target),
    (make_pipeline(StandardScaler(), ExtraTreesClassifier(7, random_state=0)), BINARY),
]
REGRESSORS = [
    (LinearRegression(), diabetes.target),
    (LinearRegression(), np.column_stack([diabetes.target, -diabetes.target])),
    (make_pipeline(StandardScaler(), Ridge()), diabetes.target),
    (ElasticNet(), diabetes.target),
    *((estimator, diabetes.target) for estimator in OTHER_LINEAR),
    (DecisionTreeRegressor(max_depth=4, random_state=0), diabetes.target),
    (ExtraTreeRegressor(max_depth=4, random_state=0), diabetes.target),
    (RandomForestRegressor(7, random_state=0), diabetes.target),
    (ExtraTreesRegressor(7, random_state=0), diabetes.target),
]


@pytest.mark.parametrize(
    ("estimator", "rows", "target"),
    [(estimator, iris.data, target) for estimator, target in CLASSIFIERS]
    + [(estimator, diabetes.data, target) for estimator, target in REGRESSORS],
    ids=lambda value: type(value).__name__,
)
def test_a_fast_path_is_bit_equal_for_any_batch(estimator: Any, rows: Any, target: Any) -> None:
    with warnings.catch_warnings(action="ignore"):
        estimator.fit(rows, target)
    slow_path = getattr(estimator, "predict_proba", estimator.predict)
    compute = fast_path(estimator, rows[:8])
    assert compute is not None
    for size in (1, 2, 3, 17, 64):
        for start in range(0, len(rows) - size, 31):
            batch = rows[start : start + size]
            before = batch.copy()
            assert np.array_equal(compute(batch), slow_path(batch))
            assert np.array_equal(batch, before), "the rows were modified"


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(),
        make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=10_000)),
        RandomForestClassifier(3).set_params(criterion="entropy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unknown_estimator_has_no_fast_path(estimator: Any) -> None:
    if isinstance(estimator, RandomForestClassifier):
        estimator.fit(iris.data, np.column_stack([iris.target, iris.target]))  # two outputs
    else:
        with warnings.catch_warnings(action="ignore"):
            estimator.fit(iris.data, iris.target)
    assert fast_path(estimator, iris.data[:8]) is None


def test_an_estimator_that_differs_in_one_bit_has_no_fast_path() -> None:
    class Shifted(LogisticRegression):
        """Named like scikit-learn's LogisticRegression, with other probabilities."""

        def predict_proba(self, rows: Any) -> Any:
            return np.nextafter(super().predict_proba(rows), 1)

    Shifted.__name__ = "LogisticRegression"
    Shifted.__module__ = "sklearn.linear_model"
    estimator = Shifted(max_iter=500).fit(iris.data, iris.target)
    assert fast_path(estimator, iris.data[:8]) is None


def test_values_beyond_float32_are_out_of_range_for_a_forest() -> None:
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0))
    estimator.fit(iris.data * 1e-30, iris.target)
    compute = fast_path(estimator, iris.data[:8] * 1e-30)
    assert compute is not None
    with pytest.raises(OutOfRange), np.errstate(all="ignore"):
        compute(np.full((1, 4), 3e38))


NUMBERS = [Column(name=name) for name in "abcd"]
CLASSES = {"task": "classification", "classes": [0, 1, 2], "probabilities": True}


@pytest.mark.parametrize(
    ("estimator", "bounded"),
    [
        (LogisticRegression(max_iter=500), True),
        (RandomForestClassifier(3, random_state=0), True),
        (KNeighborsClassifier(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_time_of_a_call_is_bounded_only_with_a_fast_path(estimator: Any, bounded: bool) -> None:
    signature = Signature(layout="array", inputs=NUMBERS, **CLASSES)
    served = ServedEstimator(estimator.fit(iris.data, iris.target), signature)
    assert not served.bounded
    served.use_fast_path(iris.data[:8].tolist())
    assert served.bounded == bounded


def test_a_forest_that_accepts_null_uses_its_fast_path_for_rows_without_null() -> None:
    forest = RandomForestClassifier(5, random_state=0).fit(iris.data, iris.target)
    columns = [Column(name=name, nullable=True) for name in "abcd"]
    signature = Signature(
        layout="array",
        inputs=columns,
        task="classification",
        classes=[0, 1, 2],
        probabilities=True,
    )
    estimator = ServedEstimator(forest, signature)
    estimator.use_fast_path([[None, 3.0, 1.0, 0.2], *iris.data[:8].tolist()])
    complete = iris.data[:40]
    with_null = iris.data[40:80].copy()
    with_null[::3, 1] = np.nan
    calls: list[int] = []
    predict_proba = forest.predict_proba
    forest.predict_proba = lambda rows: calls.append(len(rows)) or predict_proba(rows)
    assert np.array_equal(estimator(complete).probabilities, predict_proba(complete))
    assert not calls
    assert np.array_equal(estimator(with_null).probabilities, predict_proba(with_null))
    assert calls


@pytest.mark.parametrize("clipped", [True, False])
def test_nulls_that_are_filled_have_a_fast_path(clipped: bool) -> None:
    scaler = MinMaxScaler((0, 2), clip=True) if clipped else StandardScaler()
    with_null = iris.data.copy()
    with_null[::3, 1] = np.nan
    pipeline = make_pipeline(SimpleImputer(), scaler, LogisticRegression(max_iter=500))
    pipeline.fit(with_null, iris.target)
    columns = [Column(name=name, nullable=True) for name in "abcd"]
    served = ServedEstimator(pipeline, Signature(layout="array", inputs=columns, **CLASSES))
    expected = [pipeline.predict_proba(rows * 3) for rows in (with_null[:1], with_null)]
    served.use_fast_path(iris.data[:8].tolist())
    pipeline.predict_proba = None
    for rows, probabilities in zip((with_null[:1], with_null), expected, strict=True):
        assert np.array_equal(served(rows * 3).probabilities, probabilities)


def test_an_imputer_that_differs_for_nulls_has_no_fast_path() -> None:
    class Shifted(SimpleImputer):
        """Named like scikit-learn's SimpleImputer, with other values in place of nulls."""

        def transform(self, rows: Any) -> Any:
            return super().transform(rows) + np.isnan(rows)

    Shifted.__name__, Shifted.__module__ = "SimpleImputer", "sklearn.impute"
    estimator = make_pipeline(Shifted(), LinearRegression()).fit(diabetes.data, diabetes.target)
    examples = diabetes.data[:8]
    with_null = examples.copy()
    with_null[:, 2] = np.nan
    assert fast_path(estimator, examples) is not None
    assert fast_path(estimator, examples, [with_null]) is None
