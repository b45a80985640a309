"""A served estimator: it takes the rows of a batch and returns the outputs of its task."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.pipeline import Pipeline

from ...schema.cell_columns import CellColumns
from ...schema.predictions import Outputs
from ...schema.request_parser import Values
from ...schema.signature import CellRows, Signature
from ..captured_warnings import capture_warnings
from ..inputs import MixedNulls, input_builder, predict_groups
from .column_path import column_encoder, trial_batches
from .fast_paths import MatrixFunction, OutOfRange, fast_path

# `predict` of these gives the class of the highest probability, or of the highest score, which also
# has the highest probability: `predict_proba` alone gives both labels and probabilities.
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

# Between closer probabilities, `predict` may choose the other class.
_GAP = 1e-9

Batch = Any
"""An array, a DataFrame or a list of strings: see `input_builder`."""


class ServedEstimator:
    """A `Predictor` that calls an estimator as its signature says.

    together: whether all rows of a call belong together, as the prediction for one depends on the
    others. If not, the prediction for a row is the same alone and in any batch.
    build_input: makes the batch of the rows, in place of what the layout says.
    """

    def __init__(
        self,
        estimator: Any,
        signature: Signature,
        *,
        together: bool = False,
        build_input: Callable[[Any], Batch] | None = None,
    ) -> None:
        self._estimator = estimator
        self._signature = signature
        self._together = together
        self._build_input = build_input or input_builder(
            signature,
            named=not fitted_on_array(estimator),
            records=takes_records(estimator),
            mixed_nulls=together,
        )
        self._fast_path: MatrixFunction | None = None
        self._by_columns: ServedEstimator | None = None
        tasks: dict[str, Callable[[Batch], Outputs]] = {
            "classification": self._classify,
            "multilabel": self._classify_multilabel,
            "multi-output-classification": self._classify_multi_output,
            "regression": self._regress,
            "clustering": lambda batch: Outputs(self._call("predict", batch).astype(np.int64)),
            "outlier-detection": self._detect_outliers,
        }
        self._predict = tasks[signature.task]
        if signature.task == "classification":
            self._to_indices = label_indexer(estimator.classes_)
            self._by_probability = _predicts_by_probability(estimator)
        elif signature.task == "multi-output-classification":
            self._to_indices_by_output = [label_indexer(each) for each in estimator.classes_]

    def __call__(self, rows: Values) -> Outputs:
        """Predict n rows, each in signature order. Raises any exception of the estimator."""
        if self._by_columns is not None and not isinstance(rows, CellColumns):
            with suppress(Exception):  # the estimator itself accepts the rows or raises an error
                return self._by_columns(rows)
        try:
            batch = self._build_input(rows)
        except MixedNulls:
            return predict_groups(self, self._signature, cast("CellRows", rows))
        with np.errstate(all="ignore"):  # the caller rejects outputs that are not finite
            return self._predict(batch)

    def use_fast_path(self, rows: CellRows) -> None:
        """Use a fast path from now on, if it gives bit-equal outputs for `rows`.

        A fast path for arrays is tested with the rows that hold no null, and the same with nulls.
        """
        signature = self._signature
        complete = [row for row in rows if None not in row]
        if signature.layout == "frame":
            with capture_warnings(), np.errstate(all="ignore"), suppress(Exception):
                # If it fails for any reason, the estimator is called as before.
                self._by_columns = self._find_way_by_columns(rows)
        elif signature.layout == "array" and complete:
            examples = np.array(complete, dtype=np.float64)
            self.use_arithmetic(examples, _rows_with_nulls(examples, signature))

    def use_arithmetic(self, examples: Batch, with_nulls: list[Batch]) -> None:
        """Use the arithmetic of `fast_path` from now on, if there is one; see there."""
        task = self._signature.task
        if task == "regression" or (task == "classification" and self._signature.probabilities):
            with capture_warnings(), np.errstate(all="ignore"), suppress(Exception):
                self._fast_path = fast_path(self._estimator, examples, with_nulls)

    def _find_way_by_columns(self, rows: CellRows) -> "ServedEstimator | None":
        """The steps after the first, called with its matrix, which is made without a DataFrame.

        None if a step is not known, or if an output for `rows`, or for rows like them, differs.
        """
        steps = getattr(self._estimator, "steps", [])
        if self._together or len(steps) < 2 or hasattr(steps[1][1], "feature_names_in_"):  # noqa: PLR2004
            return None
        rest = self._estimator[1:] if len(steps) > 2 else steps[1][1]  # noqa: PLR2004
        encode = column_encoder(steps[0][1], self._signature.inputs)
        signature = self._signature.model_copy(update={"layout": "array"})
        served = ServedEstimator(rest, signature, build_input=encode)
        tried = False
        for batch in trial_batches(signature.inputs, rows):
            try:
                if not tried:
                    served.use_arithmetic(encode(batch), [])
                outputs = served(batch)
            except Exception:  # noqa: S112 - as in service, such rows are left to the estimator
                continue
            if not outputs.same_bits(self(batch)):
                return None
            tried = True
        return served if tried else None

    @property
    def bounded(self) -> bool:
        """Whether there is a fast path: only linear models, trees and forests have one.

        What their fast path does not compute, the estimator does, in arithmetic of the same kind.
        """
        if self._by_columns is not None:
            return self._by_columns.bounded
        return self._fast_path is not None

    def _scores(self, method: str, batch: Batch) -> NDArray[np.float64]:
        if self._fast_path is not None:
            with suppress(OutOfRange):  # the estimator itself accepts the row or raises an error
                return self._fast_path(batch)
        return np.array(self._call(method, batch), dtype=np.float64)

    def _call(self, method: str, batch: Batch) -> Any:
        """Call a method of the estimator.

        The estimator gets a copy: the batch may be a read-only view of a request's bytes, and a
        step with `copy=False` modifies its input, which the next method would get. The result may
        be memory of the estimator, which its next call overwrites: the caller copies it.
        """
        with capture_warnings():
            return getattr(self._estimator, method)(batch.copy())

    def _regress(self, batch: Batch) -> Outputs:
        values = self._scores("predict", batch)
        return Outputs(values if self._signature.outputs else values.reshape(-1))

    def _classify(self, batch: Batch) -> Outputs:
        if not self._signature.probabilities:
            return Outputs(self._to_indices(self._call("predict", batch)))
        probabilities = self._scores("predict_proba", batch)
        ties = _ties(probabilities)
        if not self._by_probability or (self._together and len(ties)):
            return Outputs(self._to_indices(self._call("predict", batch)), probabilities)
        labels = probabilities.argmax(axis=1)
        if len(ties):
            labels[ties] = self._to_indices(self._call("predict", _rows(batch, ties)))
        return Outputs(labels, probabilities)

    def _classify_multilabel(self, batch: Batch) -> Outputs:
        indicators = dense(self._call("predict", batch)).astype(np.bool_)
        if not self._signature.probabilities:
            return Outputs(indicators)
        probabilities = self._call("predict_proba", batch)
        return Outputs(indicators, indicator_probabilities(probabilities, self._estimator.classes_))

    def _classify_multi_output(self, batch: Batch) -> Outputs:
        labels = np.asarray(self._call("predict", batch))
        columns = zip(self._to_indices_by_output, labels.T, strict=True)
        return Outputs(np.column_stack([to_indices(column) for to_indices, column in columns]))

    def _detect_outliers(self, batch: Batch) -> Outputs:
        scores = np.array(self._call("decision_function", batch), dtype=np.float64)
        outlier = np.asarray(self._call("predict", batch)) == -1
        return Outputs(outlier, scores=scores.reshape(-1))


def fitted_on_array(estimator: Any) -> bool:
    """Whether the estimator was fitted on an array, and warns if it is called with a DataFrame."""
    return hasattr(estimator, "n_features_in_") and not hasattr(estimator, "feature_names_in_")


def takes_records(estimator: Any) -> bool:
    """Whether the estimator takes each row as a dict, as a pipeline with a DictVectorizer does."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[0][1]
    hashes_dicts = isinstance(estimator, FeatureHasher) and estimator.input_type == "dict"
    return isinstance(estimator, DictVectorizer) or hashes_dicts


def label_indexer(classes: Any) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
    """A function from labels (n,) to their indices (n,) into `classes`.

    It raises ValueError at a label that is not in `classes`.
    """
    known = np.asarray(classes)
    order = np.argsort(known)
    ordered = known[order]

    def to_indices(labels: NDArray[Any]) -> NDArray[np.int64]:
        positions = np.searchsorted(ordered, labels).clip(max=len(ordered) - 1)
        if not np.array_equal(ordered[positions], labels):
            raise ValueError("the model predicted a label that is none of its classes")
        return cast("NDArray[np.int64]", order[positions])

    return to_indices


def dense(outputs: Any) -> NDArray[Any]:
    """An array, also of the sparse outputs of a multilabel classifier fitted on sparse labels."""
    return np.asarray(outputs.toarray() if hasattr(outputs, "toarray") else outputs)


def indicator_probabilities(probabilities: Any, classes: Any) -> NDArray[np.float64]:
    """The probabilities (n, labels) of a multilabel classifier.

    probabilities: the result of `predict_proba`: this array, or a list with one array for each
    label, which has a column for each indicator (0, 1) seen in training.
    classes: the indicators of each label that were seen in training.
    """
    if not isinstance(probabilities, list):
        return np.array(probabilities, dtype=np.float64)
    columns = [
        label[:, list(seen).index(1)] if 1 in seen else np.zeros(len(label))
        for label, seen in zip(probabilities, classes, strict=True)
    ]
    return np.column_stack(columns).astype(np.float64)


def _predicts_by_probability(estimator: Any) -> bool:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    kind = type(estimator)
    return kind.__module__.startswith("sklearn.") and kind.__name__ in _PREDICTS_BY_PROBABILITY


def _ties(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The numbers of the rows whose two highest probabilities are almost equal."""
    if probabilities.shape[1] == 1:
        return np.empty(0, np.int64)
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.flatnonzero(~(top[:, 1] - top[:, 0] > _GAP))


def _rows_with_nulls(
    examples: NDArray[np.float64], signature: Signature
) -> list[NDArray[np.float64]]:
    """The examples with NaN in one nullable column, for each such column."""
    batches = []
    for number, column in enumerate(signature.inputs):
        if column.nullable:
            batches.append(examples.copy())
            batches[-1][:, number] = np.nan
    return batches


def _rows(batch: Batch, numbers: NDArray[np.int64]) -> Batch:
    """The rows of a batch with these numbers."""
    if isinstance(batch, list):
        return [batch[number] for number in numbers]
    if issparse(batch):
        return batch[numbers]
    return batch.take(numbers, axis=0)  # an array or a DataFrame
