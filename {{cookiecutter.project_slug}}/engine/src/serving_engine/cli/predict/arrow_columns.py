"""The columns of a block by Arrow: many times faster than field by field.

Arrow reads a little more than `parse_cell` and `csv` do. Where it might, these functions raise an
exception, and so they do at any value of another type than its column's: what is right about such a
block, and which of its rows are wrong, is said by the readers that read it field by field.
"""

import csv
import re
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np

from ...schema.cell_columns import CellColumns, Cells
from ...schema.signature import Column
from ...schema.text_cells import BOOLEANS, MISSING

_NUMERIC = {"float64", "int64"}


class Undecided(Exception):
    """Arrow may read a block differently."""


def table_columns(
    data: bytes, names: Sequence[str], delimiter: str, columns: Sequence[Column]
) -> CellColumns:
    """The columns of a table of text, from its lines without the header.

    Raises any exception where it is not sure to be what `parse_cell` makes of the fields.
    """
    arrow = _import_arrow()
    dtypes = {column.dtype for column in columns}
    quoted = b'"' in data
    if quoted and b'"' in _quoted_fields(delimiter).sub(b"", data):
        raise Undecided("a quote within a field")
    if dtypes & _NUMERIC and b"\t" in data and (quoted or delimiter != "\t"):
        raise Undecided("Arrow strips tabs from numbers")
    if "int64" in dtypes and (b"0x" in data or b"0X" in data):
        raise Undecided("Arrow reads hexadecimal integers")
    types = {"float64": arrow.float64(), "int64": arrow.int64(), "bool": arrow.bool_()}
    table = arrow.csv.read_csv(
        BytesIO(data),
        arrow.csv.ReadOptions(use_threads=False, block_size=2 * len(data), column_names=names),
        arrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted),
        arrow.csv.ConvertOptions(
            column_types={
                column.name: types.get(column.dtype, arrow.string()) for column in columns
            },
            include_columns=[column.name for column in columns],
            include_missing_columns=True,
            null_values=sorted(MISSING),
            true_values=[text for text, value in BOOLEANS.items() if value],
            false_values=[text for text, value in BOOLEANS.items() if not value],
        ),
    )
    (batch,) = table.combine_chunks().to_batches()
    values = [_with_nulls(arrow, batch.column(column.name), column) for column in columns]
    return CellColumns([_cells(arrow, *each) for each in zip(values, columns, strict=True)])


def batch_columns(batch: Any, columns: Sequence[Column]) -> CellColumns:
    """The columns of a batch of Arrow. Raises any exception if one has another type."""
    arrow = _import_arrow()
    nulls = arrow.nulls(len(batch))
    names = batch.schema.names
    values = [batch.column(column.name) if column.name in names else nulls for column in columns]
    return CellColumns([_cells(arrow, *each) for each in zip(values, columns, strict=True)])


@cache
def _import_arrow() -> Any:
    """The library pyarrow. Raises ImportError."""
    import pyarrow.compute
    import pyarrow.csv

    return pyarrow


@cache
def _quoted_fields(delimiter: str) -> re.Pattern[bytes]:
    """Fields in quotes from their first character to their last."""
    end = re.escape(f"{delimiter}\r\n".encode())
    return re.compile(rb'(?:(?<=[%b])|\A)"[^"]*+(?:""[^"]*+)*+"(?=[%b]|\Z)' % (end, end))


def _with_nulls(arrow: Any, values: Any, column: Column) -> Any:
    """The values of a column of a table of text, with null for words that mean a missing value."""
    compute = arrow.compute
    if column.dtype == "float64" and compute.any(compute.is_nan(values)).as_py():
        raise Undecided("Arrow reads more words as NaN")
    if column.dtype not in {"string", "datetime"}:
        return values
    longest = compute.max(compute.binary_length(values)).as_py() or 0
    if longest > csv.field_size_limit():
        raise Undecided("a field that is too long for csv")
    if column.dtype == "string" and not column.nullable:
        return values
    words = arrow.array(sorted(MISSING - set(column.words)), arrow.string())
    missing = compute.is_in(values, value_set=words)
    return compute.if_else(missing, None, values) if compute.any(missing).as_py() else values


def _cells(arrow: Any, values: Any, column: Column) -> Cells:
    """The values of a column. Raises an exception if they have another type than the column."""
    types = arrow.types
    kind = values.type
    if types.is_null(kind):
        return np.full(len(values), np.nan) if column.dtype == "float64" else values.to_pylist()
    if types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    number = types.is_integer(kind) or types.is_floating(kind)
    fits = {
        "float64": number,
        "int64": types.is_integer(kind),
        "bool": types.is_boolean(kind),
    }.get(column.dtype, types.is_string(kind) or types.is_large_string(kind))
    if not fits:
        raise TypeError(column.name)
    if column.dtype == "float64":
        floats = values.cast(arrow.float64(), safe=False)
        return np.asarray(floats.to_numpy(zero_copy_only=False))
    if column.dtype == "int64":
        values = values.cast(arrow.int64())
    if column.dtype in {"int64", "bool"} and values.null_count:
        cells: list[Any] = values.to_pylist()
        return cells
    return np.asarray(values.to_numpy(zero_copy_only=False))
