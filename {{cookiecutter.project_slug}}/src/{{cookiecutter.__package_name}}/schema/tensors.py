"""A signature as Open Inference tensors: which go in and come out, and how they become rows.

A model of the array layout takes one tensor of shape (n, columns), whatever it is called, or one
tensor per column; any other takes one per column, of shape (n,) or (n, 1). Answers are named as in
the service's own protocol: `label`, `probabilities`, `value`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FieldError, InvalidInput
from .answers import Outputs
from .datatypes import FLOATS, INTEGERS, Values
from .requests import RequestParser, Rows
from .signature import Label, Signature, class_name

MATRIX = "input"
"""What the one tensor of the array layout is called where somebody asks."""

_SLACK = 8
"""Arrays and objects of a request that are no data of its tensors, for each of them."""

_NUMBERS = frozenset({*FLOATS, *INTEGERS})
_TAKEN = {
    "float64": ("FP64", _NUMBERS),
    "int64": ("INT64", frozenset(INTEGERS)),
    "bool": ("BOOL", frozenset({"BOOL"})),
    "string": ("BYTES", frozenset({"BYTES"})),
}
"""The datatype of a column's tensor, and all that are accepted for it."""


@dataclass(frozen=True, slots=True)
class Description:
    """A tensor as metadata tells it; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its values, in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values


class Tensors:
    """What goes into a model of one signature and what comes out of it."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self.max_rows = max_rows
        self._parser = RequestParser(signature, max_rows)
        self.columns = signature.columns
        self._matrix = signature.layout == "array"
        self._taken = [_TAKEN[column.dtype][1] for column in signature.inputs]
        bounds = [column.bounds for column in signature.inputs]
        self._low, self._high = np.array(bounds, dtype=np.float64).T
        self._nullable = np.array([column.nullable for column in signature.inputs])
        self._vectorized = self._matrix and all(c.allowed is None for c in signature.inputs)
        per_column = [
            Description(column.name, _TAKEN[column.dtype][0], (-1,)) for column in signature.inputs
        ]
        matrix = Description(MATRIX, "FP64", (-1, len(self.columns)))
        self.inputs = [matrix] if self._matrix else per_column
        self._answers = _answers(signature)
        self.outputs = [described for described, _ in self._answers.values()]

    def rows(self, tensors: Sequence[Tensor], timeout: float | None = None) -> Rows:
        """The rows that the tensors of a request hold.

        Raises InvalidInput: for tensors that are not those of the signature, and for the first row
        that does not fit it.
        """
        first = tensors[0]
        if self._matrix and len(tensors) == 1 and first.shape[1:] == (len(self.columns),):
            self._check_size(first.shape[0])
            _check_datatype(first, _NUMBERS)
            matrix = np.asarray(first.values, dtype=np.float64).reshape(first.shape)
            # Checking numbers that are not where a processor wants them takes longer than a copy.
            matrix = np.require(matrix, requirements=["ALIGNED"])
            columns: list[Values] = list(matrix.T)
        else:
            columns = [tensor.values for tensor in self._by_name(tensors)]
            if self._vectorized:
                matrix = np.array(columns, dtype=np.float64).T
        if self._vectorized:
            return Rows(self._checked(matrix), timeout)
        cells = zip(*map(_as_list, columns), strict=True)
        return self._parser.check({"instances": list(map(list, cells))}, timeout)

    def floods(self, header: bytes) -> bool:
        """Whether the JSON of a request has far more arrays and objects than rows may need."""
        most = (_SLACK + self.max_rows) * (_SLACK + len(self.columns))
        return self._parser.floods(header, most)

    def answers(self, outputs: Outputs, names: Sequence[str]) -> list[Tensor]:
        """The answers to n rows, those with these names and in their order."""
        found = []
        for name in names:
            described, take = self._answers[name]
            shape = (len(outputs), *described.shape[1:])
            found.append(Tensor(name, described.datatype, shape, take(outputs)))
        return found

    def _by_name(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """One tensor for each column, in signature order."""
        given = {tensor.name: tensor for tensor in tensors}
        missing = [name for name in self.columns if name not in given]
        if missing or len(given) != len(tensors) or len(given) != len(self.columns):
            wanted = "one tensor for each column"
            if self._matrix:
                wanted = f"one tensor of shape [rows, {len(self.columns)}], or {wanted}"
            also = f"; {missing[0]} is missing" if missing else ""
            raise InvalidInput(f"The model takes {wanted}{also}.")
        columns = [given[name] for name in self.columns]
        count = columns[0].shape[0] if columns[0].shape else 0
        self._check_size(count)
        for column, taken in zip(columns, self._taken, strict=True):
            _check_datatype(column, taken)
            if column.shape not in {(count,), (count, 1)}:
                raise InvalidInput(
                    f"The tensor {column.name} must have the shape [{count}] or [{count}, 1]."
                )
        return columns

    def _check_size(self, rows: int) -> None:
        if not 1 <= rows <= self.max_rows:
            raise InvalidInput(f"A request must have from 1 to {self.max_rows} rows.")

    def _checked(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is not a number stands for a missing value, where a column may have those."""
        fits = (matrix >= self._low) & (matrix <= self._high)
        if not fits.all():
            fits |= np.isnan(matrix) & self._nullable
            if not fits.all():
                raise self._misfit(fits)
        return matrix

    def _misfit(self, fits: NDArray[np.bool_]) -> InvalidInput:
        number = int(fits.all(axis=1).argmin())
        places = [int(place) for place in np.flatnonzero(~fits[number])]
        errors = [
            FieldError(
                f"/inputs/{place}",
                f"must be a finite number, from {self._low[place]:g} to {self._high[place]:g} "
                f"({self.columns[place]})",
            )
            for place in places
        ]
        return InvalidInput(f"Row {number} does not fit the model's signature.", errors)


def _check_datatype(tensor: Tensor, taken: frozenset[str]) -> None:
    if tensor.datatype not in taken:
        raise InvalidInput(
            f"The tensor {tensor.name} must have a datatype of {', '.join(sorted(taken))}."
        )


def _as_list(values: Values) -> list[Any]:
    """Python's own values; NaN, which JSON does not have, is a missing value."""
    if isinstance(values, list):
        return values
    found: list[Any] = values.tolist()
    if values.dtype.kind == "f" and np.isnan(values).any():
        return [None if number != number else number for number in found]  # noqa: PLR0124
    return found


Take = Callable[[Outputs], Values]


def _answers(signature: Signature) -> dict[str, tuple[Description, Take]]:
    """What comes out, by name, and how it is taken from the model's outputs."""
    found: dict[str, tuple[Description, Take]] = {}

    def add(name: str, datatype: str, take: Take, width: int | None = None) -> None:
        shape = (-1,) if width is None else (-1, width)
        found[name] = (Description(name, datatype, shape), take)

    classes = signature.classes or []
    match signature.task:
        case "classification":
            add("label", *_labels(classes, lambda outputs: outputs.values))
        case "multilabel":
            add("labels", "BOOL", lambda outputs: outputs.values, len(classes))
        case "multi-output-classification":
            names, labels = signature.outputs or [], signature.output_classes or []
            for place, (name, own) in enumerate(zip(names, labels, strict=True)):
                add(name, *_labels(own, _column(place)))
        case "regression" if signature.outputs:
            add("values", "FP64", lambda outputs: outputs.values, len(signature.outputs))
        case "regression":
            add("value", "FP64", lambda outputs: outputs.values)
        case "clustering":
            add("cluster", "INT64", lambda outputs: outputs.values)
        case "outlier-detection":
            add("outlier", "BOOL", lambda outputs: outputs.values)
            add("score", "FP64", lambda outputs: _given(outputs.scores))
    if signature.probabilities:
        add("probabilities", "FP64", lambda outputs: _given(outputs.probabilities), len(classes))
    return found


def _labels(
    classes: Sequence[Label], indices: Callable[[Outputs], NDArray[Any]]
) -> tuple[str, Take]:
    """The datatype of labels, and how they are taken: text where they are not all of one type."""
    kinds = {type(label) for label in classes}
    if kinds in ({bool}, {int}):
        table = np.array(classes)
        return "BOOL" if kinds == {bool} else "INT64", lambda outputs: table[indices(outputs)]
    names = [class_name(label) for label in classes]
    return "BYTES", lambda outputs: [names[index] for index in indices(outputs).tolist()]


def _column(place: int) -> Callable[[Outputs], NDArray[Any]]:
    return lambda outputs: outputs.values[:, place]


def _given(numbers: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if numbers is None:
        raise ValueError("the model gave no scores")
    return numbers
