"""Builds the input of a model from the rows of a batch, as the layout says."""

from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from ..model_files.load_errors import LibraryMissing
from ..schema.cell_columns import CellColumns, Cells
from ..schema.predictions import Outputs
from ..schema.request_parser import Values
from ..schema.signature import CellRows, Column, Signature


class MixedNulls(Exception):
    """An integer or boolean column holds null in some rows and values in others.

    NumPy has no type for both. As floats, the integers of the other rows would lose digits, and an
    encoder that was fitted on integers or booleans would not know them: see `rows_by_nulls`.
    """


def input_builder(
    signature: Signature,
    *,
    named: bool = True,
    records: bool = False,
    mixed_nulls: bool = False,
) -> Callable[[Values], Any]:
    """A function from n rows, each in signature order, to one batch.

    Layout array: (n, columns) float64, NaN for null. Layout frame: a DataFrame, or an array of
    objects if not `named`, or a list of dicts if `records`. Layout text: a list of strings.
    mixed_nulls: whether a null may change the type of an integer or boolean column for all rows;
    if not, the function raises MixedNulls, so that the type of a column depends on no other row.
    Raises LibraryMissing if the layout is frame and pandas is not installed.
    """
    if signature.layout == "text":
        return lambda rows: [row[0] for row in rows]
    if signature.layout == "array":
        return lambda rows: np.asarray(rows, dtype=np.float64)
    names = signature.columns
    if records:
        return lambda rows: [dict(zip(names, row, strict=True)) for row in rows]
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        raise LibraryMissing("pandas") from None
    inputs = signature.inputs

    def frame(rows: Values) -> Any:
        by_column = rows.columns if isinstance(rows, CellColumns) else zip(*rows, strict=True)
        columns = zip(inputs, by_column, strict=True)
        return pandas.DataFrame(
            {column.name: _series(pandas, column, cells, mixed_nulls) for column, cells in columns}
        )

    return frame if named else lambda rows: frame(rows).to_numpy(dtype=object)


def predict_groups(
    predict: Callable[[Values], Outputs], signature: Signature, rows: CellRows
) -> Outputs:
    """Predict rows with different nulls: one call for each group of rows with the same."""
    rows = list(rows)
    groups = rows_by_nulls(signature, rows)
    parts = [predict([rows[number] for number in numbers]) for numbers in groups]
    return Outputs.joined(parts).take(np.argsort(np.concatenate(groups)))


def rows_by_nulls(signature: Signature, rows: CellRows) -> list[list[int]]:
    """The numbers of the rows, grouped so that no group has MixedNulls: as few groups as possible.

    The rows of a group have null in the same integer and boolean columns.
    """
    positions = [
        position
        for position, column in enumerate(signature.inputs)
        if column.nullable and column.dtype in {"int64", "bool"}
    ]
    groups: defaultdict[tuple[bool, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[tuple(row[position] is None for position in positions)].append(number)
    return list(groups.values())


def _series(pandas: Any, column: Column, cells: Cells, mixed_nulls: bool) -> Any:
    """One column as `pandas.read_csv` would read it, NaN for null; or a Categorical."""
    if column.categorical:
        known = set(column.categories or ())
        cells = [cell if cell in known else None for cell in cells]
        return pandas.Categorical(cells, categories=column.categories)
    simple = _SERIES.get(column.dtype)
    if simple is not None:
        return simple(pandas, column, cells)
    if column.nullable and None in cells:
        if not mixed_nulls and any(cell is not None for cell in cells):
            raise MixedNulls
        if column.dtype == "int64":
            return np.array(cells, dtype=np.float64)
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=object)
    return np.array(cells, dtype=np.bool_ if column.dtype == "bool" else np.int64)


def _datetimes(pandas: Any, column: Column, cells: Cells) -> Any:
    """A Series of datetimes with the unit and the timezone of a column, NaT for null.

    cells: ISO 8601 text.
    """
    zone = column.timezone
    series = pandas.to_datetime(
        pandas.Series(cells, dtype=object), format="ISO8601", utc=zone is not None
    )
    return (series if zone is None else series.dt.tz_convert(zone)).dt.as_unit(column.unit)


_SERIES: dict[str, Callable[[Any, Column, Cells], Any]] = {
    "string": lambda pandas, _, cells: pandas.array(cells, dtype="str"),
    "float64": lambda _pandas, _, cells: np.array(cells, dtype=np.float64),
    "datetime": _datetimes,
}
