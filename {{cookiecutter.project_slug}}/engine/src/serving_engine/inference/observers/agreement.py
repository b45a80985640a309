"""Compares the outputs of two models for the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import IncompatibleSignature
from ...schema.compatibility import check_accepts_as_much
from ...schema.predictions import Outputs
from ...schema.signature import Label, Signature, class_names


@dataclass(frozen=True)
class Agreement:
    """agreed: (n,) bool. differences: (n,) float64, empty if the models give no numbers."""

    agreed: NDArray[np.bool_]
    differences: NDArray[np.float64]


class Comparison:
    """Compares the outputs of a model with those of its shadow.

    Two predictions agree if their labels are equal, or, where a model predicts numbers, if no
    number differs by more than `tolerance` of it. The difference of a row is the largest of its
    numbers: of probabilities and scores as they are, of other numbers relative to the model's.
    Raises IncompatibleSignature if the shadow rejects rows of the model, or has other outputs.
    """

    def __init__(self, model: Signature, shadow: Signature, tolerance: float) -> None:
        check_accepts_as_much(model, shadow)
        if (model.outputs, model.probabilities) != (shadow.outputs, shadow.probabilities):
            raise IncompatibleSignature("the predictions of the shadow model have another form.")
        self._task = model.task
        self._tolerance = tolerance
        ours = [model.classes, *(model.output_classes or ())]
        theirs = [shadow.classes, *(shadow.output_classes or ())]
        self._numbers = [_numbers(one, other) for one, other in zip(ours, theirs, strict=True)]
        """For each class of the shadow, its number among the model's, or a number beyond them."""
        self._classes = len(model.classes or ())

    def __call__(self, model: Outputs, shadow: Outputs) -> Agreement:
        """Compare the outputs for the same rows."""
        nothing = np.empty(0)
        match self._task:
            case "regression":
                differences = _relative(model.values, shadow.values)
                return Agreement(differences <= self._tolerance, differences)
            case "clustering":
                return Agreement(model.values == shadow.values, nothing)
            case "outlier-detection":
                differences = _largest(model.scores, shadow.scores)
                return Agreement(model.values == shadow.values, differences)
            case "multi-output-classification":
                columns = zip(self._numbers[1:], shadow.values.T, strict=True)
                labels = np.column_stack([numbers[column] for numbers, column in columns])
                return Agreement((labels == model.values).all(axis=1), nothing)
        differences = nothing
        if model.probabilities is not None and shadow.probabilities is not None:
            differences = self._of_classes(model.probabilities, shadow.probabilities)
        if self._task == "classification":
            return Agreement(self._numbers[0][shadow.values] == model.values, differences)
        labels = self._of_classes(model.values.astype(float), shadow.values.astype(float))
        return Agreement(labels == 0, differences)

    def _of_classes(
        self, model: NDArray[np.float64], shadow: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The largest difference of each row; a class that one of them lacks counts as 0."""
        width = max(self._classes, int(self._numbers[0].max()) + 1)
        ours = np.zeros((len(model), width))
        ours[:, : self._classes] = model
        theirs = np.zeros((len(shadow), width))
        theirs[:, self._numbers[0]] = shadow
        return _largest(ours, theirs)


def _numbers(model: Sequence[Label] | None, shadow: Sequence[Label] | None) -> NDArray[np.int64]:
    known = {name: number for number, name in enumerate(class_names(model))}
    return np.array(
        [known.setdefault(name, len(known)) for name in class_names(shadow)], dtype=np.int64
    )


def _largest(one: Any, other: Any) -> NDArray[np.float64]:
    differences: NDArray[np.float64] = np.abs(one - other)
    return differences if differences.ndim == 1 else differences.max(axis=1)


def _relative(model: NDArray[np.float64], shadow: NDArray[np.float64]) -> NDArray[np.float64]:
    differences = np.abs(model - shadow)
    sizes = np.abs(model)
    relative = np.divide(
        differences, sizes, out=np.where(differences > 0, np.inf, 0.0), where=sizes > 0
    )
    largest: NDArray[np.float64] = relative if relative.ndim == 1 else relative.max(axis=1)
    return np.minimum(largest, 1e9)
