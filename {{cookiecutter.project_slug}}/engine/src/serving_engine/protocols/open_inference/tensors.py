"""The Open Inference tensors of a signature: inputs to rows, outputs of the model to tensors.

A model of the array layout accepts one tensor of shape (n, columns), of any name, or one tensor per
column; any other accepts one per column, of shape (n,) or (n, 1). Outputs have the names of the
service's own protocol: `label`, `probabilities`, `value`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FieldError, InvalidInput
from ...schema.number_check import NumberCheck
from ...schema.predictions import Outputs
from ...schema.request_parser import RequestParser, Rows
from ...schema.signature import Label, Signature, class_name
from .datatypes import FLOATS, INTEGERS, Values

MATRIX = "input"
"""The name in metadata of the one tensor of the array layout."""

_SLACK = 8
"""Added to the rows and to the columns, for arrays and objects of a request beside the data."""

_NUMBERS = frozenset({*FLOATS, *INTEGERS})
_ACCEPTED = {
    "float64": ("FP64", _NUMBERS),
    "int64": ("INT64", frozenset(INTEGERS)),
    "bool": ("BOOL", frozenset({"BOOL"})),
    "string": ("BYTES", frozenset({"BYTES"})),
    "datetime": ("BYTES", frozenset({"BYTES"})),
}
"""By a column's dtype: the datatype of its tensor in metadata, and all accepted datatypes."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor in metadata; -1 in the shape stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor(TensorSpec):
    """A tensor with its values, in row-major order."""

    values: Values


class Tensors:
    """The input and output tensors of one signature."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self.max_rows = max_rows
        self._parser = RequestParser(signature, max_rows)
        self.columns = signature.columns
        self._matrix = signature.layout == "array"
        self._accepted = [_ACCEPTED[column.dtype][1] for column in signature.inputs]
        self._check = NumberCheck(signature)
        self._vectorized = self._matrix and self._check.complete
        self.inputs = [
            TensorSpec(column.name, _ACCEPTED[column.dtype][0], (-1,))
            for column in signature.inputs
        ]
        if self._matrix:
            self.inputs = [TensorSpec(MATRIX, "FP64", (-1, len(self.columns)))]
        self._outputs = _outputs(signature)
        self.outputs = [spec for spec, _ in self._outputs.values()]

    def rows(self, tensors: Sequence[Tensor], timeout: float | None = None) -> Rows:
        """Convert the tensors of a request to rows.

        Raises InvalidInput for tensors that are not those of the signature, and for the first row
        that does not fit it.
        """
        first = tensors[0]
        if self._matrix and len(tensors) == 1 and first.shape[1:] == (len(self.columns),):
            self._check_size(first.shape[0])
            _check_datatype(first, _NUMBERS)
            matrix = np.asarray(first.values, dtype=np.float64).reshape(first.shape)
            # Checking unaligned numbers takes longer than a copy.
            matrix = np.require(matrix, requirements=["ALIGNED"])
            columns: list[Values] = list(matrix.T)
        else:
            columns = [tensor.values for tensor in self._by_name(tensors)]
            if self._vectorized:
                matrix = np.array(columns, dtype=np.float64).T
        if self._vectorized:
            self._check_values(matrix)
            return Rows(matrix, timeout)
        cells = zip(*map(_as_list, columns), strict=True)
        return self._parser.check({"instances": list(map(list, cells))}, timeout)

    def exceeds_containers(self, header: bytes) -> bool:
        """Return whether the JSON of a request has far more arrays and objects than rows need."""
        most = (_SLACK + self.max_rows) * (_SLACK + len(self.columns))
        return self._parser.exceeds_containers(header, most)

    def output_tensors(self, outputs: Outputs, names: Sequence[str]) -> list[Tensor]:
        """Convert the outputs for n rows to the tensors of these names, in this order."""
        tensors = []
        for name in names:
            spec, extract = self._outputs[name]
            shape = (len(outputs), *spec.shape[1:])
            tensors.append(Tensor(name, spec.datatype, shape, extract(outputs)))
        return tensors

    def _by_name(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return one tensor for each column, in signature order."""
        by_name = {tensor.name: tensor for tensor in tensors}
        missing = [name for name in self.columns if name not in by_name]
        if missing or len(by_name) != len(tensors) or len(by_name) != len(self.columns):
            expected = "one tensor for each column"
            if self._matrix:
                expected = f"one tensor of shape [rows, {len(self.columns)}], or {expected}"
            problem = f"; {missing[0]} is missing" if missing else ""
            raise InvalidInput(f"The model requires {expected}{problem}.")
        columns = [by_name[name] for name in self.columns]
        count = columns[0].shape[0] if columns[0].shape else 0
        self._check_size(count)
        for column, accepted in zip(columns, self._accepted, strict=True):
            _check_datatype(column, accepted)
            if column.shape not in {(count,), (count, 1)}:
                raise InvalidInput(
                    f"The tensor {column.name} must have the shape [{count}] or [{count}, 1]."
                )
        return columns

    def _check_size(self, rows: int) -> None:
        if not 1 <= rows <= self.max_rows:
            raise InvalidInput(f"A request must have from 1 to {self.max_rows} rows.")

    def _check_values(self, matrix: NDArray[np.float64]) -> None:
        """Raise InvalidInput for the first row that does not fit. NaN is a missing value."""
        fits = self._check.fits(matrix)
        if not fits.all():
            raise self._misfit(fits)

    def _misfit(self, fits: NDArray[np.bool_]) -> InvalidInput:
        row = int(fits.all(axis=1).argmin())
        errors = [
            FieldError(
                f"/inputs/{column}",
                f"{self._expected(column)} ({self.columns[column]})",
            )
            for column in np.flatnonzero(~fits[row]).tolist()
        ]
        return InvalidInput(f"Row {row} does not fit the model's signature.", errors)

    def _expected(self, column: int) -> str:
        if self._check.boolean[column]:
            return "must be true or false: 1 or 0"
        low, high = self._check.low[column], self._check.high[column]
        return f"must be a finite number, from {low:g} to {high:g}"


def _check_datatype(tensor: Tensor, accepted: frozenset[str]) -> None:
    if tensor.datatype not in accepted:
        raise InvalidInput(
            f"The tensor {tensor.name} must have a datatype of {', '.join(sorted(accepted))}."
        )


def _as_list(values: Values) -> list[Any]:
    """Convert values to Python's types; NaN, which JSON does not have, is a missing value."""
    if isinstance(values, list):
        return values
    cells: list[Any] = values.tolist()
    if values.dtype.kind == "f" and np.isnan(values).any():
        return [None if cell != cell else cell for cell in cells]  # noqa: PLR0124
    return cells


Extract = Callable[[Outputs], Values]
"""Extracts the values of one tensor from the model's outputs."""


def _outputs(signature: Signature) -> dict[str, tuple[TensorSpec, Extract]]:
    """Return the output tensors of a signature, by name."""
    tensors: dict[str, tuple[TensorSpec, Extract]] = {}

    def add(name: str, datatype: str, extract: Extract, width: int | None = None) -> None:
        shape = (-1,) if width is None else (-1, width)
        tensors[name] = (TensorSpec(name, datatype, shape), extract)

    classes = signature.classes or []
    match signature.task:
        case "classification":
            add("label", *_labels(classes, lambda outputs: outputs.values))
        case "multilabel":
            add("labels", "BOOL", lambda outputs: outputs.values, len(classes))
        case "multi-output-classification":
            labels_by_name = zip(
                signature.outputs or (), signature.output_classes or (), strict=True
            )
            for index, (name, labels) in enumerate(labels_by_name):
                add(name, *_labels(labels, _column(index)))
        case "regression" if signature.outputs:
            add("values", "FP64", lambda outputs: outputs.values, len(signature.outputs))
        case "regression":
            add("value", "FP64", lambda outputs: outputs.values)
        case "clustering":
            add("cluster", "INT64", lambda outputs: outputs.values)
        case "outlier-detection":
            add("outlier", "BOOL", lambda outputs: outputs.values)
            add("score", "FP64", lambda outputs: _required(outputs.scores))
    if signature.probabilities:
        add("probabilities", "FP64", lambda outputs: _required(outputs.probabilities), len(classes))
    return tensors


def _labels(
    classes: Sequence[Label], indices: Callable[[Outputs], NDArray[Any]]
) -> tuple[str, Extract]:
    """Return the datatype of labels and their extraction: as text if their types differ."""
    kinds = {type(label) for label in classes}
    if kinds in ({bool}, {int}):
        table = np.array(classes)
        return "BOOL" if kinds == {bool} else "INT64", lambda outputs: table[indices(outputs)]
    names = [class_name(label) for label in classes]
    return "BYTES", lambda outputs: [names[index] for index in indices(outputs).tolist()]


def _column(index: int) -> Callable[[Outputs], NDArray[Any]]:
    return lambda outputs: outputs.values[:, index]


def _required(numbers: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if numbers is None:
        raise ValueError("the model returned no scores")
    return numbers
