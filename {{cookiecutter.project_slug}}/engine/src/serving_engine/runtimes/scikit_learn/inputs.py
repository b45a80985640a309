"""Builds the input of an estimator from the rows of a batch, as the layout says."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ...model_files.load_errors import LibraryMissing
from ...schema.request_parser import Values
from ...schema.signature import Cell, Column, Signature


def input_builder(signature: Signature, *, named: bool = True) -> Callable[[Values], Any]:
    """A function from n rows, each in signature order, to one batch.

    Layout array: (n, columns) float64, NaN for null. Layout frame: a DataFrame, or an array of
    objects if not `named`. Layout text: a list of strings.
    Raises LibraryMissing if the layout is frame and pandas is not installed.
    """
    if signature.layout == "text":
        return lambda rows: [row[0] for row in rows]
    if signature.layout == "array":
        return lambda rows: np.asarray(rows, dtype=np.float64)
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        raise LibraryMissing("pandas") from None
    inputs = signature.inputs

    def frame(rows: Values) -> Any:
        columns = zip(inputs, zip(*rows, strict=True), strict=True)
        return pandas.DataFrame(
            {column.name: _series(pandas, column, cells) for column, cells in columns}
        )

    return frame if named else lambda rows: frame(rows).to_numpy(dtype=object)


def _series(pandas: Any, column: Column, cells: Sequence[Cell]) -> Any:
    """One column as `pandas.read_csv` would read it, NaN for null; or a Categorical."""
    if column.categorical:
        known = set(column.categories or ())
        cells = [cell if cell in known else None for cell in cells]
        return pandas.Categorical(cells, categories=column.categories)
    if column.dtype == "string":
        return pandas.array(cells, dtype="str")
    if column.dtype == "bool":
        if column.nullable and None in cells:
            return np.array([np.nan if cell is None else cell for cell in cells], dtype=object)
        return np.array(cells, dtype=np.bool_)
    whole = column.dtype == "int64" and not (column.nullable and None in cells)
    return np.array(cells, dtype=np.int64 if whole else np.float64)
