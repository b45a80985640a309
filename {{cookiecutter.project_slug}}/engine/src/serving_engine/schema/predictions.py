"""The outputs of a model as arrays, and the predictions that are made of them for JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..text import shown
from .signature import Signature, class_names

MAX_NUMBER = 32
"""Most bytes of a number in JSON, its separator included."""
MAX_ESCAPE = 6
"""Most bytes of a character of a string in JSON."""
JSON_COPIES = 4
"""Times that a response is in memory while it is written: the buffer of orjson doubles, and the
connection puts the head before the body."""

Prediction = dict[str, Any] | float | list[float]


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Outputs:
    """The outputs of a model for a batch of n rows.

    values, by task: classification: (n,) int64 indices into the signature's classes; multilabel:
    (n, classes) bool; multi-output classification: (n, outputs) int64 indices into the classes of
    each output; regression: (n,) float64, or (n, outputs) where it has several; clustering: (n,)
    int64; outlier detection: (n,) bool, true for an outlier.
    probabilities: (n, classes) float64; None if the model has none.
    scores: (n,) float64 for outlier detection, negative for outliers; None for other tasks.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> "Outputs":
        """The outputs of the rows from `start` up to, not including, `stop`."""
        return Outputs(
            self.values[start:stop],
            None if self.probabilities is None else self.probabilities[start:stop],
            None if self.scores is None else self.scores[start:stop],
        )

    def take(self, numbers: NDArray[np.int64]) -> "Outputs":
        """The outputs of the rows with these numbers, in this order."""
        return Outputs(
            self.values[numbers],
            None if self.probabilities is None else self.probabilities[numbers],
            None if self.scores is None else self.scores[numbers],
        )

    @classmethod
    def joined(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """The outputs of one or more calls, concatenated."""
        first = parts[0]
        return cls(
            np.concatenate([part.values for part in parts]),
            None if first.probabilities is None else _concatenated(p.probabilities for p in parts),
            None if first.scores is None else _concatenated(p.scores for p in parts),
        )

    def same_bits(self, other: "Outputs") -> bool:
        """Whether every output is the same, NaN included."""
        pairs = zip(
            (self.values, self.probabilities, self.scores),
            (other.values, other.probabilities, other.scores),
            strict=True,
        )
        return all(
            one is two if one is None or two is None else np.array_equal(one, two, equal_nan=True)
            for one, two in pairs
        )

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        numbers = self.probabilities if self.scores is None else self.scores
        return bool(np.isfinite(self.values if numbers is None else numbers).all())


def _concatenated(arrays: Iterable[NDArray[Any] | None]) -> NDArray[Any]:
    return np.concatenate([array for array in arrays if array is not None])


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Predictions:
    """The response to one request, ready for JSON: one prediction per row, and the name and version
    of the model."""

    predictions: list[Prediction]
    model: dict[str, str]


class PredictionFormatter:
    """Turns the outputs of one signature into predictions."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._classes = signature.classes or []
        self._names = class_names(signature.classes)
        formats: dict[str, Callable[[Outputs], list[Any]]] = {
            "classification": self._classification,
            "multilabel": self._multilabel,
            "multi-output-classification": self._multi_output,
            "regression": lambda outputs: outputs.values.tolist(),
            "clustering": lambda outputs: [{"cluster": n} for n in outputs.values.tolist()],
            "outlier-detection": _outlier,
        }
        self._format = formats[signature.task]
        names = [*class_names(signature.classes), *(signature.outputs or ())]
        for labels in signature.output_classes or ():
            names += class_names(labels)
        values = 2 * sum(MAX_NUMBER + MAX_ESCAPE * len(name) for name in names)
        self.bytes_per_row = JSON_COPIES * (4 * MAX_NUMBER + values)
        """Memory that is needed to write one prediction as JSON."""

    def __call__(self, outputs: Outputs) -> list[Prediction]:
        """One prediction, ready for JSON, for each row of `outputs`."""
        return self._format(outputs)

    def _classification(self, outputs: Outputs) -> list[Prediction]:
        labels = [self._classes[index] for index in outputs.values.tolist()]
        if outputs.probabilities is None:
            return [{"label": label} for label in labels]
        return [
            {"label": label, "probabilities": dict(zip(self._names, row, strict=True))}
            for label, row in zip(labels, outputs.probabilities.tolist(), strict=True)
        ]

    def _multilabel(self, outputs: Outputs) -> list[Prediction]:
        predictions: list[Any] = [
            {"labels": [label for label, has in zip(self._classes, row, strict=True) if has]}
            for row in outputs.values.tolist()
        ]
        if outputs.probabilities is not None:
            for prediction, row in zip(predictions, outputs.probabilities.tolist(), strict=True):
                prediction["probabilities"] = dict(zip(self._names, row, strict=True))
        return predictions

    def _multi_output(self, outputs: Outputs) -> list[Prediction]:
        names = self._signature.outputs or []
        classes = self._signature.output_classes or []
        return [
            {
                "labels": {
                    name: labels[index]
                    for name, labels, index in zip(names, classes, row, strict=True)
                }
            }
            for row in outputs.values.tolist()
        ]


def _outlier(outputs: Outputs) -> list[Prediction]:
    scores = [] if outputs.scores is None else outputs.scores.tolist()
    return [
        {"outlier": outlier, "score": score}
        for outlier, score in zip(outputs.values.tolist(), scores, strict=True)
    ]


def numbers_of(prediction: Prediction) -> list[float]:
    """The numbers in a prediction: values, probabilities or a score."""
    if isinstance(prediction, list):
        return prediction
    if not isinstance(prediction, dict):
        return [prediction]
    if "score" in prediction:
        return [prediction["score"]]
    return list(prediction.get("probabilities", {}).values())


def describe_difference(expected: Prediction, actual: Prediction) -> str:
    """The end of a sentence: the expected and the actual prediction, and how far they differ."""
    pairs = zip(numbers_of(expected), numbers_of(actual), strict=False)
    numbers = (pair for pair in pairs if all(isinstance(n, int | float) for n in pair))
    largest = max((abs(one - other) for one, other in numbers), default=0.0)
    difference = f"; the largest difference of a number is {largest:g}" if largest else ""
    return f"{shown(expected)} was expected, and {shown(actual)} is predicted{difference}"


def predictions_agree(expected: Any, actual: Any, relative: float, absolute: float) -> bool:
    """Whether two predictions are the same: numbers within a tolerance, all else exactly.

    1 and 1.0 are the same number in JSON, and some tools write one for the other.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            predictions_agree(expected[key], actual[key], relative, absolute) for key in expected
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(
            predictions_agree(one, other, relative, absolute)
            for one, other in zip(expected, actual, strict=True)
        )
    kinds = {type(expected), type(actual)}
    if float in kinds and kinds <= {int, float}:
        return bool(abs(expected - actual) <= absolute + relative * abs(expected))
    return len(kinds) == 1 and bool(expected == actual)
