"""Fast paths: the arithmetic of common estimators without scikit-learn's overhead on every call.

A pipeline spends some 300 microseconds on validation before the five microseconds of a linear
model's arithmetic, and a forest spends five milliseconds on passing trees to a pool of one thread.
The request parser has validated the inputs, so here the same operations run in the same order, and
give the same bits. An estimator is called without a fast path if it is not known here, or if one
bit differs from its own outputs for the golden examples.

Formulas: scikit-learn 1.9, `transform` of the scalers and of `SimpleImputer`,
`LinearClassifierMixin._predict_proba_lr`,
`LogisticRegression.predict_proba`, `LinearModel.predict`, `ForestClassifier.predict_proba`,
`ForestRegressor.predict`, `DecisionTree*`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.special import expit

Matrix = NDArray[np.float64]
MatrixFunction = Callable[[Matrix], Matrix]

_LINEAR_CLASSIFIERS = {"LogisticRegression", "LogisticRegressionCV"}
_LINEAR_REGRESSORS = {
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LinearRegression",
    "LinearSVR",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
}
_TREE_CLASSIFIERS = {
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "ExtraTreesClassifier",
    "RandomForestClassifier",
}
_TREE_REGRESSORS = {
    "DecisionTreeRegressor",
    "ExtraTreeRegressor",
    "ExtraTreesRegressor",
    "RandomForestRegressor",
}


class OutOfRange(Exception):
    """A value exceeds the range of the fast path: the estimator itself must be called."""


def fast_path(
    estimator: Any, examples: Any, with_nulls: Sequence[Matrix] = ()
) -> MatrixFunction | None:
    """A fast `predict_proba` of a classifier or `predict` of a regressor.

    examples: (n, features) float64, or a sparse matrix; the outputs for them must be bit-equal, and
    so for `with_nulls`, unless the function leaves these to the estimator. Returns None if there is
    no such function. It raises OutOfRange for rows outside of float32, or with NaN that nothing
    fills.
    """
    transforms = _transforms(estimator)
    final = _final(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator)
    if transforms is None or final is None:
        return None

    def compute(rows: Matrix) -> Matrix:
        for transform in transforms:
            rows = transform(rows)
        return final(rows)

    slow_path = getattr(estimator, "predict_proba", estimator.predict)
    for rows in (examples, examples[:1], *with_nulls):
        with suppress(OutOfRange):  # as in service, such rows are left to the estimator
            if not np.array_equal(compute(rows.copy()), slow_path(rows)):
                return None
    return compute


def _transforms(estimator: Any) -> list[MatrixFunction] | None:
    steps = [step for _, step in getattr(estimator, "steps", [])[:-1]]
    if any(step_name(step) not in MATRIX_STEPS for step in steps):
        return None
    return [MATRIX_STEPS[step_name(step)](step) for step in steps]


def fills(imputer: Any) -> NDArray[Any]:
    """What a SimpleImputer puts in place of null, by column. Raises OutOfRange if it does more."""
    if imputer.missing_values == imputer.missing_values or imputer.add_indicator:
        raise OutOfRange
    return np.asarray(imputer.statistics_)


def _impute(imputer: Any) -> MatrixFunction:
    values = fills(imputer).astype(np.float64)

    def transform(rows: Matrix) -> Matrix:
        missing = np.isnan(rows)
        if not missing.any():
            return rows
        rows = rows.copy(order="K")
        np.copyto(rows, values, where=missing)
        return rows

    return transform


def _standard_scaler(scaler: Any) -> MatrixFunction:
    mean = scaler.mean_ if scaler.with_mean else None
    return _shift_and_divide(mean, scaler.scale_ if scaler.with_std else None)


def _robust_scaler(scaler: Any) -> MatrixFunction:
    center = scaler.center_ if scaler.with_centering else None
    return _shift_and_divide(center, scaler.scale_ if scaler.with_scaling else None)


def _shift_and_divide(center: Matrix | None, scale: Matrix | None) -> MatrixFunction:
    def transform(rows: Matrix) -> Matrix:
        if center is None:
            return rows / scale if scale is not None else rows
        rows = rows - center
        if scale is not None:
            rows /= scale  # in place: the subtraction made a copy
        return rows

    return transform


def _min_max_scaler(scaler: Any) -> MatrixFunction:
    def transform(rows: Matrix) -> Matrix:
        rows = rows * scaler.scale_
        rows += scaler.min_
        return np.clip(rows, *scaler.feature_range, out=rows) if scaler.clip else rows

    return transform


MATRIX_STEPS: dict[str, Callable[[Any], MatrixFunction]] = {
    "MinMaxScaler": _min_max_scaler,
    "RobustScaler": _robust_scaler,
    "SimpleImputer": _impute,
    "StandardScaler": _standard_scaler,
}
"""Steps before the last, by name: each makes a new matrix of a matrix."""


def _final(estimator: Any) -> MatrixFunction | None:
    name = step_name(estimator)
    if name in _LINEAR_CLASSIFIERS:
        return _logistic(estimator)
    if name in _LINEAR_REGRESSORS:
        return _linear(estimator)
    if name in _TREE_CLASSIFIERS | _TREE_REGRESSORS and estimator.n_outputs_ == 1:
        trees = getattr(estimator, "estimators_", [estimator])
        return _forest(trees, estimator.n_classes_ if name in _TREE_CLASSIFIERS else None)
    return None


def _linear(estimator: Any) -> MatrixFunction:
    coefficients = estimator.coef_.T
    intercept = estimator.intercept_
    return lambda rows: rows @ coefficients + intercept


def _logistic(estimator: Any) -> MatrixFunction:
    decision_function = _linear(estimator)
    binary = len(estimator.classes_) == 2  # noqa: PLR2004

    def two_classes(rows: Matrix) -> Matrix:
        second = expit(decision_function(rows).reshape(-1))
        return np.stack([1 - second, second], axis=1)

    def more_classes(rows: Matrix) -> Matrix:
        scores = decision_function(rows)
        scores -= scores.max(axis=1).reshape(-1, 1)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1).reshape(-1, 1)
        return scores

    return two_classes if binary else more_classes


def _forest(trees: Any, classes: int | None) -> MatrixFunction:
    """The mean over trees, summed in their order: floating-point sums depend on the order."""
    predictors = [tree.tree_.predict for tree in trees]

    def mean(rows: Any) -> Matrix:
        single = (rows.toarray() if issparse(rows) else rows).astype(np.float32)
        if not np.isfinite(single).all():
            raise OutOfRange
        total = np.zeros((len(single), classes) if classes is not None else len(single))
        for predict in predictors:
            values = predict(single)
            total += values[:, 0] if classes is None else values[:, :classes]
        total /= len(predictors)
        return total

    return mean


def step_name(step: Any) -> str:
    """The name of a class of scikit-learn; empty for any other."""
    kind = type(step)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else ""
