"""What goes into a model and what comes out, as counts: labels, scores, nulls, unusual values.

No label of a metric is a value of a request: it is a class or a column of the manifest, and at most
100 of each, the others together as `other`. Nothing is counted row by row in Python: the rows of
some calls are kept until there are enough of them, and are counted together.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schema.predictions import Outputs
from ..schema.request_parser import Values
from ..schema.signature import Column, Signature, class_names
from ..telemetry.exposition import SCORES, Counts
from ..text import printable

MAX_LABELS = 100
OTHER = "other"
MAX_TEXT = 60
"""Characters of a label; a longer one is cut."""
PENDING_CELLS = 8192
"""Cells that wait to be counted: counting them takes some 0.1 ms, instead of 0.02 ms for each row
alone."""

_CLUSTERS = [str(number) for number in range(MAX_LABELS + 1)]

_LabelCounter = Callable[[Outputs], NDArray[np.int64]]

logger = logging.getLogger("model")


class ModelMetrics:
    """Counts the rows and outputs of one model. It raises no exception: if it fails, it ends.

    counts: where they are added, by metric and label; those of an earlier model stay.
    """

    def __init__(self, signature: Signature, counts: Counts) -> None:
        self._lock = threading.Lock()  # the calls of a model may be in several threads
        self._pending: list[tuple[Values, Outputs]] = []
        self._pending_cells = 0
        self._ended = False
        self._cells = len(signature.inputs) + len(signature.classes or ())
        # Texts may be long: they are counted at once, so that they do not stay in memory.
        numeric = all(column.dtype in {"float64", "int64", "bool"} for column in signature.inputs)
        self._max_pending = PENDING_CELLS if numeric else 0
        self._is_array = signature.layout == "array"
        self._counts = counts
        self._count_labels, names = _label_counter(signature)
        self._labels = self._keys("serving_predictions", names)
        self._has_scores = signature.probabilities
        if self._has_scores:
            counts.setdefault("serving_prediction_score", [0.0] * (len(SCORES) + 2))
        self._nullable = _positions(signature, lambda column: column.nullable)
        self._ranged = _positions(signature, _has_range)
        self._categorical = _positions(signature, _has_categories)
        columns = signature.columns
        self._nulls = self._keys("serving_null_values", [columns[n] for n in self._nullable])
        watched = [*self._ranged, *self._categorical]
        self._unusual = self._keys("serving_out_of_range", [columns[n] for n in watched])
        inputs = [signature.inputs[number] for number in self._ranged]
        self._low = np.array([-np.inf if c.minimum is None else c.minimum for c in inputs])
        self._high = np.array([np.inf if c.maximum is None else c.maximum for c in inputs])
        self._known: dict[int, set[Any]]
        self._known = {n: set(signature.inputs[n].categories or ()) for n in self._categorical}

    def observe(self, rows: Values, outputs: Outputs) -> None:
        """Count the rows and the outputs of a call that succeeded, now or later."""
        with self._lock:
            if self._ended:
                return
            self._pending.append((rows, outputs))
            self._pending_cells += len(rows) * self._cells
            if self._pending_cells > self._max_pending:
                self._count_or_end()

    def flush(self) -> None:
        """Count what waits to be counted."""
        with self._lock:
            if self._pending:
                self._count_or_end()

    def _count_or_end(self) -> None:
        """Count; end at a failure, as neither a request nor `/metrics` may fail for it."""
        try:
            self._count()
        except Exception:
            self._ended = True
            logger.exception("counting predictions failed: it is switched off")

    def _count(self) -> None:
        pending = self._pending
        self._pending = []
        self._pending_cells = 0
        outputs = Outputs.joined([outputs for _, outputs in pending])
        self._add(self._labels, self._count_labels(outputs))
        if self._has_scores and outputs.probabilities is not None:
            self._add_scores(outputs.values, outputs.probabilities)
        if self._is_array:
            parts = [np.asarray(rows, dtype=np.float64) for rows, _ in pending]
            nulls, unusual = self._of_array(np.concatenate(parts))
        else:
            nulls, unusual = self._of_cells([row for rows, _ in pending for row in rows])
        self._add(self._nulls, nulls)
        self._add(self._unusual, unusual)

    def _of_array(self, rows: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The numbers of nulls and of unusual values, by column. rows: (n, columns) float64."""
        nulls = np.isnan(rows[:, self._nullable]).sum(axis=0)
        ranged = rows[:, self._ranged]
        unusual = ((ranged < self._low) | (ranged > self._high)).sum(axis=0)
        other = [
            np.count_nonzero(~np.isin(rows[:, n], list(known)) & ~np.isnan(rows[:, n]))
            for n, known in self._known.items()
        ]
        return nulls, np.array([*unusual, *other], dtype=np.int64)

    def _of_cells(self, rows: Sequence[Sequence[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same of rows of mixed types."""
        columns = list(zip(*rows, strict=True))
        nulls = [columns[number].count(None) for number in self._nullable]
        unusual: list[int] = []
        for number, low, high in zip(self._ranged, self._low, self._high, strict=True):
            numbers = np.array(columns[number], dtype=np.float64)  # null is NaN
            unusual.append(int(np.count_nonzero((numbers < low) | (numbers > high))))
        for number, known in self._known.items():
            values = Counter(columns[number])
            unusual.append(sum(values[value] for value in values.keys() - known - {None}))
        return np.array(nulls, dtype=np.int64), np.array(unusual, dtype=np.int64)

    def _add_scores(self, values: NDArray[Any], probabilities: NDArray[np.float64]) -> None:
        """Add the probability of each predicted label to the histogram."""
        several = values.dtype == np.bool_
        scores = probabilities[values if several else (np.arange(len(values)), values)]
        numbers = self._counts["serving_prediction_score"]
        buckets = np.bincount(np.searchsorted(SCORES, scores), minlength=len(SCORES) + 1)
        added = [*buckets.tolist(), float(scores.sum())]
        self._counts["serving_prediction_score"] = [
            one + other for one, other in zip(numbers, added, strict=True)
        ]

    def _keys(self, metric: str, names: Sequence[str]) -> list[str]:
        """The keys of a metric in the counts, which start with 0; that of the others is the last.

        A name may be any text, and a line end separates the parts of a key. Clusters are not
        known before they are predicted.
        """
        labels = [printable(name)[:MAX_TEXT] for name in names[:MAX_LABELS]]
        if len(names) > MAX_LABELS:
            labels.append(OTHER)
        keys = [f"{metric}\n{label}" for label in labels]
        for key in () if names is _CLUSTERS else keys:
            self._counts.setdefault(key, [0])
        return keys

    def _add(self, keys: list[str], numbers: NDArray[np.int64]) -> None:
        if len(numbers) > len(keys):
            others = numbers[MAX_LABELS:].sum()
            numbers = np.append(numbers[:MAX_LABELS], others)
        for position in np.flatnonzero(numbers).tolist():
            key = keys[position]
            before = self._counts.get(key, [0])[0]
            self._counts[key] = [before + int(numbers[position])]


def _positions(signature: Signature, condition: Callable[[Column], bool]) -> list[int]:
    return [number for number, column in enumerate(signature.inputs) if condition(column)]


def _has_range(column: Column) -> bool:
    """Whether values outside of the observed range are possible and can be noticed."""
    observed = column.minimum is not None or column.maximum is not None
    return observed and not column.enforce


def _has_categories(column: Column) -> bool:
    return column.categories is not None and not column.enforce and not _has_range(column)


def _label_counter(signature: Signature) -> tuple[_LabelCounter, list[str]]:
    """A function that counts the predictions of each label, and the names of the labels."""
    names = class_names(signature.classes)
    match signature.task:
        case "classification":
            return lambda outputs: np.bincount(outputs.values, minlength=len(names)), names
        case "multilabel":
            return lambda outputs: outputs.values.sum(axis=0), names
        case "multi-output-classification":
            return _multi_output_counter(signature)
        case "outlier-detection":
            return _outlier_counter, ["inlier", "outlier"]
        case "clustering":
            return _cluster_counter, _CLUSTERS
        case _:
            return lambda _: np.zeros(0, dtype=np.int64), []


def _multi_output_counter(signature: Signature) -> tuple[_LabelCounter, list[str]]:
    """The label of a metric is `output=label`."""
    classes = [class_names(labels) for labels in signature.output_classes or ()]
    names = [
        f"{output}={label}"
        for output, labels in zip(signature.outputs or (), classes, strict=True)
        for label in labels
    ]

    def count(outputs: Outputs) -> NDArray[np.int64]:
        columns = zip(outputs.values.T, classes, strict=True)
        return np.concatenate([np.bincount(each, minlength=len(c)) for each, c in columns])

    return count, names


def _outlier_counter(outputs: Outputs) -> NDArray[np.int64]:
    return np.bincount(outputs.values.astype(np.int64), minlength=2)


def _cluster_counter(outputs: Outputs) -> NDArray[np.int64]:
    """The manifest has no list of clusters: the first 100 have their number, and noise has -1."""
    clusters = outputs.values
    known = (clusters >= 0) & (clusters < MAX_LABELS)
    return np.bincount(np.where(known, clusters, MAX_LABELS), minlength=MAX_LABELS + 1)
