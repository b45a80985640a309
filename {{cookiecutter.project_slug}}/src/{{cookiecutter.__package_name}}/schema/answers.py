"""What a model says, from arrays to JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .signature import Signature, class_names

Prediction = dict[str, Any] | float | list[float]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The answers to a batch of n rows.

    values, by task: classification: (n,) int64 indices into the signature's classes; multilabel:
    (n, classes) bool; multi-output classification: (n, outputs) int64 indices into the classes of
    each output; regression: (n,) float64, or (n, outputs) where it has several; clustering: (n,)
    int64; outlier detection: (n,) bool, true for an outlier.
    probabilities: (n, classes) float64; None where the model has none.
    scores: (n,) float64 for outlier detection, negative for outliers; else None.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> "Outputs":
        """The answers to rows start to stop."""
        probabilities, scores = self.probabilities, self.scores
        return Outputs(
            self.values[start:stop],
            None if probabilities is None else probabilities[start:stop],
            None if scores is None else scores[start:stop],
        )

    @classmethod
    def joined(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """The answers of several calls, one after the other; at least one."""
        first = parts[0]
        return cls(
            np.concatenate([part.values for part in parts]),
            None if first.probabilities is None else _stacked(p.probabilities for p in parts),
            None if first.scores is None else _stacked(p.scores for p in parts),
        )

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        numbers = self.probabilities if self.scores is None else self.scores
        return bool(np.isfinite(self.values if numbers is None else numbers).all())


def _stacked(arrays: Iterable[NDArray[Any] | None]) -> NDArray[Any]:
    return np.concatenate([array for array in arrays if array is not None])


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answer to one request, ready for JSON: one prediction per row, and who made them."""

    predictions: list[Prediction]
    model: dict[str, str]


class Answers:
    """Turns the outputs of one signature into predictions."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._classes = signature.classes or []
        self._names = class_names(signature.classes)
        tasks: dict[str, Callable[[Outputs], list[Any]]] = {
            "classification": self._label,
            "multilabel": self._labels,
            "multi-output-classification": self._label_of_each,
            "regression": lambda outputs: outputs.values.tolist(),
            "clustering": lambda outputs: [{"cluster": n} for n in outputs.values.tolist()],
            "outlier-detection": _outlier,
        }
        self._task = tasks[signature.task]

    def __call__(self, outputs: Outputs) -> list[Prediction]:
        """One JSON-ready prediction for each row of `outputs`."""
        return self._task(outputs)

    def _label(self, outputs: Outputs) -> list[Prediction]:
        labels = [self._classes[index] for index in outputs.values.tolist()]
        if outputs.probabilities is None:
            return [{"label": label} for label in labels]
        names = self._names
        return [
            {"label": label, "probabilities": dict(zip(names, row, strict=True))}
            for label, row in zip(labels, outputs.probabilities.tolist(), strict=True)
        ]

    def _labels(self, outputs: Outputs) -> list[Prediction]:
        answers: list[Any] = [
            {"labels": [label for label, has in zip(self._classes, row, strict=True) if has]}
            for row in outputs.values.tolist()
        ]
        if outputs.probabilities is not None:
            for answer, row in zip(answers, outputs.probabilities.tolist(), strict=True):
                answer["probabilities"] = dict(zip(self._names, row, strict=True))
        return answers

    def _label_of_each(self, outputs: Outputs) -> list[Prediction]:
        names, classes = self._signature.outputs or [], self._signature.output_classes or []
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


def agree(expected: Any, found: Any, relative: float, absolute: float) -> bool:
    """Whether two predictions are the same, numbers within a tolerance and all else exactly.

    1 and 1.0 are the same number in JSON, and some tools write the one for the other.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            agree(expected[key], found[key], relative, absolute) for key in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(
            agree(one, other, relative, absolute)
            for one, other in zip(expected, found, strict=True)
        )
    kinds = {type(expected), type(found)}
    if float in kinds and kinds <= {int, float}:
        return bool(abs(expected - found) <= absolute + relative * abs(expected))
    return len(kinds) == 1 and bool(expected == found)
