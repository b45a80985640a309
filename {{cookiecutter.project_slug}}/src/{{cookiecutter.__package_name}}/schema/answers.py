"""What a model says, from arrays to JSON."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .signature import Label, Signature

Prediction = dict[str, Any] | float | list[float]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The answers to a batch of n rows.

    values: (n,) int64 indices into the signature's classes for a classification; (n,) float64 for
    a regression, (n, outputs) where it has several outputs.
    probabilities: (n, classes) float64; None where the model has none.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> "Outputs":
        """The answers to rows start to stop."""
        probabilities = self.probabilities
        return Outputs(
            self.values[start:stop], None if probabilities is None else probabilities[start:stop]
        )

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        scores = self.values if self.probabilities is None else self.probabilities
        return bool(np.isfinite(scores).all())


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answer to one request, ready for JSON: one prediction per row, and who made them."""

    predictions: list[Prediction]
    model: dict[str, str]


class Answers:
    """Turns the outputs of one signature into predictions."""

    def __init__(self, signature: Signature) -> None:
        self._classes = signature.classes
        self._names = [class_name(label) for label in signature.classes or ()]

    def __call__(self, outputs: Outputs) -> list[Prediction]:
        """One JSON-ready prediction for each row of `outputs`."""
        values: list[Any] = outputs.values.tolist()
        if self._classes is None:
            return values
        labels = [self._classes[index] for index in values]
        if outputs.probabilities is None:
            return [{"label": label} for label in labels]
        names = self._names
        return [
            {"label": label, "probabilities": dict(zip(names, row, strict=True))}
            for label, row in zip(labels, outputs.probabilities.tolist(), strict=True)
        ]


def class_name(label: Label) -> str:
    """A label as a JSON member name: a string as it is, else its JSON text."""
    return label if isinstance(label, str) else json.dumps(label)


def agree(expected: Any, found: Any, relative: float, absolute: float) -> bool:
    """Whether two predictions are the same, numbers within a tolerance and all else exactly."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            agree(expected[key], found[key], relative, absolute) for key in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(
            agree(one, other, relative, absolute)
            for one, other in zip(expected, found, strict=True)
        )
    if isinstance(expected, float) and isinstance(found, float):
        return abs(expected - found) <= absolute + relative * abs(expected)
    return type(expected) is type(found) and bool(expected == found)
