"""Rows that are held by column, as a table is read, and the check of their cells."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from pydantic_core import SchemaValidator, core_schema

from .request_parser import cell_schema
from .signature import Cell, Column, Signature

Cells = Sequence[Cell] | NDArray[Any]
"""The values of a column: an array of float64 (NaN for null), int64 or bool, or of objects; or a
sequence of cells."""


class CellColumns(Sequence[Sequence[Cell]]):
    """The rows of a table, each in signature order. What builds a DataFrame takes `columns`."""

    def __init__(self, columns: Sequence[Cells]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, key: int) -> Sequence[Cell]: ...
    @overload
    def __getitem__(self, key: slice) -> "CellColumns": ...
    def __getitem__(self, key: int | slice) -> "Sequence[Cell] | CellColumns":
        if isinstance(key, slice):
            return CellColumns([cells[key] for cells in self.columns])
        return next(iter(self[key : key + 1 or None]))

    def __iter__(self) -> Iterator[Sequence[Cell]]:
        return map(list, zip(*map(_as_cells, self.columns), strict=True))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """As the array of a list of rows is."""
        return np.array(list(self), dtype=dtype)


def _as_cells(cells: Cells) -> Sequence[Cell]:
    if not isinstance(cells, np.ndarray):
        return cells
    values: list[Cell] = cells.tolist()
    if cells.dtype == np.float64 and np.isnan(cells).any():
        return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN
    return values


class ColumnsCheck:
    """Whether the cells of columns are what `RequestParser` accepts, a column at a time."""

    def __init__(self, signature: Signature) -> None:
        self._columns = [(column, _list_validator(column)) for column in signature.inputs]

    def __call__(self, rows: CellColumns) -> None:
        """Raise ValueError if a cell does not fit its column."""
        for (column, validator), cells in zip(self._columns, rows.columns, strict=True):
            if isinstance(cells, np.ndarray) and cells.dtype != object and column.allowed is None:
                _check_numbers(cells, column)
            else:
                validator.validate_python(list(cells))


def _check_numbers(numbers: NDArray[Any], column: Column) -> None:
    low, high = column.bounds
    fits = (numbers >= low) & (numbers <= high)
    if column.nullable:
        fits |= np.isnan(numbers)
    if not fits.all():
        raise ValueError(column.name)


def _list_validator(column: Column) -> SchemaValidator:
    return SchemaValidator(core_schema.list_schema(cell_schema(column)))
