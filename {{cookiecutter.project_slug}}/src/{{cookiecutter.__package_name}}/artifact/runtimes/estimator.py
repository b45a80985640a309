"""A loaded estimator, called with the rows of a batch and answering as its task says."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ...schema.answers import Outputs
from ...schema.requests import Values
from ...schema.signature import Cell, Signature
from ..silence import heard_warnings
from .batches import batches
from .direct import OutOfRange, Step, direct

# `predict` of these takes the class of the highest probability, or of the highest score where
# probabilities rise with scores: one call gives both answers.
_PREDICTS_BY_PROBABILITY = frozenset(
    {
        "BaggingClassifier",
        "CalibratedClassifierCV",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "ExtraTreesClassifier",
        "GaussianNB",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "KNeighborsClassifier",
        "LinearDiscriminantAnalysis",
        "LogisticRegression",
        "LogisticRegressionCV",
        "MLPClassifier",
        "RandomForestClassifier",
    }
)

# Closer probabilities may be ties that scores decide, or that `predict` resolves the other way.
_GAP = 1e-9

Batch = Any
"""An array, a DataFrame or a list of strings: see `batches`."""


class Estimator:
    """An estimator behind a signature."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator = estimator
        self._signature = signature
        self._batch = batches(signature, named=not fitted_on_array(estimator))
        self._direct: Step | None = None
        tasks: dict[str, Callable[[Batch], Outputs]] = {
            "classification": self._label,
            "multilabel": self._labels,
            "multi-output-classification": self._label_of_each,
            "regression": self._regress,
            "clustering": lambda batch: Outputs(self._own("predict", batch).astype(np.int64)),
            "outlier-detection": self._outlier,
        }
        self._answer = tasks[signature.task]
        if signature.task == "classification":
            self._indices = indices(estimator.classes_)
            self._by_probability = _predicts_by_probability(estimator)
        elif signature.task == "multi-output-classification":
            self._indices_of_each = [indices(classes) for classes in estimator.classes_]

    def __call__(self, rows: Values) -> Outputs:
        """Predict n rows, each in signature order.

        Raises whatever the estimator raises.
        """
        batch = self._batch(rows)
        with np.errstate(all="ignore"):  # answers that are not finite are refused, not printed
            return self._answer(batch)

    def shorten(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Do the arithmetic alone from now on, where it gives the estimator's bits on `rows`.

        It is proved on rows without gaps and used for those; forests take others too.
        """
        signature = self._signature
        scores = signature.task == "regression" or (
            signature.task == "classification" and signature.probabilities
        )
        complete = [row for row in rows if None not in row]
        if signature.layout == "array" and scores and complete:
            with heard_warnings(), np.errstate(all="ignore"), suppress(Exception):
                # Whatever it stumbles over, the estimator itself has answered these rows.
                self._direct = direct(self._estimator, np.array(complete, dtype=np.float64))

    def _scores(self, method: str, batch: Batch) -> NDArray[np.float64]:
        if self._direct is not None:
            with suppress(OutOfRange):  # of gaps too; the estimator knows them, or what is wrong
                return self._direct(batch)
        return np.asarray(self._own(method, batch), dtype=np.float64)

    def _own(self, method: str, batch: Batch) -> Any:
        if isinstance(batch, np.ndarray):  # of a request's bytes: anywhere, and not to be written
            batch = np.require(batch, requirements=["ALIGNED", "WRITEABLE"])
        with heard_warnings():
            return getattr(self._estimator, method)(batch)

    def _regress(self, batch: Batch) -> Outputs:
        values = self._scores("predict", batch)
        return Outputs(values if self._signature.outputs else values.reshape(len(batch)))

    def _label(self, batch: Batch) -> Outputs:
        if not self._signature.probabilities:
            return Outputs(self._indices(self._own("predict", batch)))
        probabilities = self._scores("predict_proba", batch)
        if self._by_probability and _no_ties(probabilities):
            return Outputs(probabilities.argmax(axis=1), probabilities)
        return Outputs(self._indices(self._own("predict", batch)), probabilities)

    def _labels(self, batch: Batch) -> Outputs:
        has = dense(self._own("predict", batch)).astype(np.bool_)
        if not self._signature.probabilities:
            return Outputs(has)
        found = self._own("predict_proba", batch)
        return Outputs(has, indicator_probabilities(found, self._estimator.classes_))

    def _label_of_each(self, batch: Batch) -> Outputs:
        labels = np.asarray(self._own("predict", batch))
        columns = zip(self._indices_of_each, labels.T, strict=True)
        return Outputs(np.column_stack([find(column) for find, column in columns]))

    def _outlier(self, batch: Batch) -> Outputs:
        scores = np.asarray(self._own("decision_function", batch), dtype=np.float64)
        outlier = np.asarray(self._own("predict", batch)) == -1
        return Outputs(outlier, scores=scores.reshape(len(batch)))


def fitted_on_array(estimator: Any) -> bool:
    """Whether the estimator saw an array when it was fitted, and would warn of names."""
    return hasattr(estimator, "n_features_in_") and not hasattr(estimator, "feature_names_in_")


def indices(classes: Any) -> Callable[[Any], NDArray[np.int64]]:
    """A function from labels (n,) to their indices (n,) into `classes`.

    It raises ValueError at a label that is none of them.
    """
    known = np.asarray(classes)
    order = np.argsort(known)
    ordered = known[order]

    def find(labels: Any) -> NDArray[np.int64]:
        found = np.searchsorted(ordered, labels).clip(max=len(ordered) - 1)
        if not np.array_equal(ordered[found], labels):
            raise ValueError("the model answered with a label that is none of its classes")
        return cast("NDArray[np.int64]", order[found])

    return find


def dense(answer: Any) -> NDArray[Any]:
    """An array, also where a multilabel classifier was fitted on sparse indicators."""
    return np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)


def indicator_probabilities(found: Any, classes: Any) -> NDArray[np.float64]:
    """(n, labels) from what `predict_proba` of a multilabel classifier gives.

    Some give that at once; others a list of arrays, one for each label, with a column for each
    indicator (0, 1) that was seen.
    """
    if not isinstance(found, list):
        return np.asarray(found, dtype=np.float64)
    columns = [
        each[:, list(seen).index(1)] if 1 in seen else np.zeros(len(each))
        for each, seen in zip(found, classes, strict=True)
    ]
    return np.column_stack(columns).astype(np.float64)


def _predicts_by_probability(estimator: Any) -> bool:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    kind = type(estimator)
    return kind.__module__.startswith("sklearn.") and kind.__name__ in _PREDICTS_BY_PROBABILITY


def _no_ties(probabilities: NDArray[np.float64]) -> bool:
    if probabilities.shape[1] == 1:
        return True
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return bool((top[:, 1] - top[:, 0] > _GAP).all())
