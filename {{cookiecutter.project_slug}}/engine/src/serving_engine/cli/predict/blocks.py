"""The rows of a block: a part of a file that one call of `Block` parses, in any process.

A block of text is whole lines, one of Parquet is a batch of Arrow. `cells` and `matrix` read all
rows at once and raise an exception if one is not as expected; `rows` then reads them one by one.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO, StringIO
from types import NoneType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ...build_model.row_files import Row, import_pyarrow, json_value
from ...schema.signature import Cell, Column
from ...schema.text_cells import is_decimal, parse_cell, parse_column, read_fields

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

    def matrix(self, columns: Sequence[Column]) -> Matrix:
        """The values of columns of numbers and booleans as an array (n, columns), NaN for null.

        Raises any exception if a value has another type.
        """
        return np.column_stack([_floats(self.cells(column), column) for column in columns])


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

    def matrix(self, columns: Sequence[Column]) -> Matrix:
        """The values as an array, by Arrow's reader where it reads what `parse_cell` does: where
        there are only decimal numbers and empty fields. It is several times faster."""
        arrow = _arrow_csv()
        boolean = any(column.dtype == "bool" for column in columns)
        if (
            arrow is None
            or boolean
            or not is_decimal(self._data, f"{self._delimiter}\r\n".encode())
        ):
            return super().matrix(columns)
        try:
            table = arrow.csv.read_csv(
                BytesIO(self._data),
                arrow.csv.ReadOptions(
                    use_threads=False, block_size=2 * len(self._data), column_names=self._names
                ),
                arrow.csv.ParseOptions(delimiter=self._delimiter, quote_char=False),
                arrow.csv.ConvertOptions(
                    column_types={column.name: arrow.float64() for column in columns},
                    include_columns=[column.name for column in columns],
                    include_missing_columns=True,
                ),
            )
        except arrow.ArrowInvalid:
            return super().matrix(columns)
        return np.column_stack([column.to_numpy() for column in table.columns])

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


@cache
def _arrow_csv() -> Any:
    """The library pyarrow, if it is installed."""
    try:
        import pyarrow.csv
    except ImportError:
        return None
    return pyarrow


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

    def matrix(self, columns: Sequence[Column]) -> Matrix:
        return np.column_stack([self._floats(column) for column in columns])

    def _floats(self, column: Column) -> Matrix:
        if column.name not in self._batch.schema.names:
            return np.full(len(self._batch), np.nan)
        values = self._batch.column(column.name)
        types = self._arrow.types
        number = types.is_integer(values.type) or types.is_floating(values.type)
        if not (types.is_boolean(values.type) if column.dtype == "bool" else number):
            raise TypeError(column.name)
        floats = values.cast(self._arrow.float64(), safe=False)
        array: Matrix = floats.to_numpy(zero_copy_only=False)
        return array

    def rows(self) -> Iterator[Row | Unreadable]:
        for row in self._batch.to_pylist():
            yield {name: json_value(value) for name, value in row.items()}
