"""The rows of a block: a part of a file that one call of `Block` parses, in any process.

A block of text is whole lines, one of Parquet is a batch of Arrow. There are three ways to read it,
each slower than the one before and asked where that raises an exception: `by_column` and `matrix`,
`cells`, and `rows`, which reads row by row and says what is wrong.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from types import NoneType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ...build_model.row_files import Row, import_pyarrow, json_value
from ...schema.cell_columns import CellColumns, Cells
from ...schema.signature import Cell, Column
from ...schema.text_cells import parse_cell, parse_column, read_fields
from .arrow_columns import batch_columns, table_columns

_NUMBERS = {float, int, NoneType}
_BOOLEANS = {bool, NoneType}

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be read: why, and what was read."""

    reason: str
    content: Any


class Block(ABC):
    """The rows of a block."""

    @abstractmethod
    def cells(self, column: Column) -> Sequence[Cell]:
        """The values of a column in all rows. Raises any exception if there is not one in each."""

    @abstractmethod
    def rows(self) -> Iterator[Row | Unreadable]:
        """Each row by column name."""

    def by_column(self, columns: Sequence[Column]) -> CellColumns:
        """The values of columns. Raises any exception if `cells` may differ, or is to be asked."""
        raise NotImplementedError

    def matrix(self, columns: Sequence[Column]) -> Matrix:
        """The values of columns of numbers and booleans as an array (n, columns), NaN for null.

        Raises any exception if a value has another type.
        """
        with suppress(Exception):
            return np.column_stack([_numbers(cells) for cells in self.by_column(columns).columns])
        return np.column_stack([_floats(self.cells(column), column) for column in columns])


def _numbers(cells: Cells) -> Matrix:
    return np.array(cells, dtype=np.float64)


def _floats(cells: Sequence[Cell], column: Column) -> Matrix:
    if not set(map(type, cells)) <= (_BOOLEANS if column.dtype == "bool" else _NUMBERS):
        raise TypeError(column.name)
    return np.array(cells, dtype=np.float64)


class TableBlock(Block):
    """Lines of a table of text."""

    def __init__(
        self, data: bytes, names: Sequence[str], delimiter: str, known: Mapping[str, Column]
    ) -> None:
        self._data = data
        self._names = names
        self._delimiter = delimiter
        self._known = known

    def cells(self, column: Column) -> Sequence[Cell]:
        texts = self._columns.get(column.name)
        if texts is None:
            return [None] * len(next(iter(self._columns.values())))
        return parse_column(texts, column)

    @cached_property
    def _columns(self) -> dict[str, tuple[str, ...]]:
        lines = filter(None, read_fields(self._text(), self._delimiter))
        columns = list(zip(*lines, strict=True))
        return dict(zip(self._names, columns, strict=True))

    def _text(self) -> StringIO:
        return StringIO(self._data.decode(), newline="")

    def by_column(self, columns: Sequence[Column]) -> CellColumns:
        return table_columns(self._data, self._names, self._delimiter, columns)

    def rows(self) -> Iterator[Row | Unreadable]:
        lines = read_fields(self._text(), self._delimiter)
        while True:
            try:
                fields = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield Unreadable(f"is not valid CSV: {error}", None)
                continue
            if len(fields) > len(self._names):
                yield Unreadable(f"has more values than the {len(self._names)} columns", fields)
            elif fields:
                texts = [*fields, *[""] * (len(self._names) - len(fields))]
                yield {
                    name: parse_cell(text, self._known[name])
                    for name, text in zip(self._names, texts, strict=True)
                    if name in self._known
                }


class LinesBlock(Block):
    """Lines of JSON."""

    def __init__(self, data: bytes) -> None:
        self._lines = [line for line in data.splitlines() if line.strip()]

    def cells(self, column: Column) -> Sequence[Cell]:
        return [row.get(column.name) for row in self._objects]

    @cached_property
    def _objects(self) -> list[Row]:
        return list(map(orjson.loads, self._lines))

    def rows(self) -> Iterator[Row | Unreadable]:
        for line in self._lines:
            try:
                row = json.loads(line)
            except ValueError as error:
                yield Unreadable(f"is not valid JSON: {error}", line.decode())
                continue
            if isinstance(row, dict):
                yield {name: json_value(value) for name, value in row.items()}
            else:
                yield Unreadable('is no row of named columns, which is an object: {"age": 41}', row)


class BatchBlock(Block):
    """A batch of Arrow, from a Parquet file."""

    def __init__(self, data: bytes) -> None:
        self._arrow = import_pyarrow()
        with self._arrow.ipc.open_stream(data) as reader:
            self._batch = reader.read_next_batch()

    def cells(self, column: Column) -> Sequence[Cell]:
        if column.name not in self._batch.schema.names:
            return [None] * len(self._batch)
        return [json_value(value) for value in self._batch.column(column.name).to_pylist()]

    def by_column(self, columns: Sequence[Column]) -> CellColumns:
        return batch_columns(self._batch, columns)

    def rows(self) -> Iterator[Row | Unreadable]:
        for row in self._batch.to_pylist():
            yield {name: json_value(value) for name, value in row.items()}
