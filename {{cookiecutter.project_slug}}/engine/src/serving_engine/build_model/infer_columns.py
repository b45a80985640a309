"""Finds the columns that a model takes, and the type and the range of each, in example rows."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

from pydantic import ValidationError

from ..schema.signature import FLOAT32_MAX, INT64_MAX, Column, DType, Layout
from ..text import one_line, shown
from .errors import NotPackaged
from .examples import Examples

MAX_CATEGORIES = 50
_EXPECTED = {
    "float64": "a finite number",
    "int64": "a whole number of 64 bits",
    "bool": "true or false",
    "string": "a string",
    "datetime": "a date",
}


def column_names(estimator: Any, examples: Examples, chosen: Sequence[str] | None) -> list[str]:
    """The columns that the estimator takes, in its order.

    They are the chosen ones, else `feature_names_in_` of the estimator, else all of the first row.
    In the first two cases the rows may have more columns, such as the target.
    Raises NotPackaged if a row lacks one of them, or if the estimator takes another number.
    """
    rows = examples.rows
    known = chosen or getattr(estimator, "feature_names_in_", None)
    if known is None:
        for number, row in enumerate(rows):
            if row.keys() != rows[0].keys() or None in row:
                raise NotPackaged(f"example row {number} has other columns than the first row.")
        known = rows[0]
    names = [str(name) for name in known]
    missing = [name for name in names if any(name not in row for row in rows)]
    if missing:
        raise NotPackaged(
            f"the examples lack columns of the model: {', '.join(missing[:10])}. They have "
            f"{_shortened(rows[0])}. Rename them to those that it was fitted on."
        )
    width = getattr(estimator, "n_features_in_", len(names))
    if width != len(names):
        raise NotPackaged(
            f"the model takes {width} columns and the examples have {len(names)}: "
            f"{', '.join(names[:10])}. Give those that it was fitted on, in their order."
        )
    return names


def infer_columns(examples: Examples, names: Sequence[str]) -> list[Column]:
    """The columns with their types, and with the range or the categories of the examples.

    Raises NotPackaged at a value that is not of its column's type, or at an invalid name.
    """
    columns = []
    for name in names:
        cells = [row[name] for row in examples.rows]
        dtype = "datetime" if name in examples.datetimes else _dtype(cells, name in examples.whole)
        for number, cell in enumerate(cells):
            if cell is not None and not _fits(cell, dtype):
                raise NotPackaged(
                    f"example row {number}: column {name} must be {_EXPECTED[dtype]}, and it is "
                    f"{shown(cell)}. Correct the value, or leave the column out: --columns A,B."
                )
        values = [cell for cell in cells if cell is not None]
        observed: dict[str, Any] = {}
        if name in examples.datetimes:
            observed = dict(zip(("unit", "timezone"), examples.datetimes[name], strict=True))
        elif name in examples.categories and dtype == "string":
            observed = {"categories": examples.categories[name], "categorical": True}
        elif dtype == "string" and values and len(set(values)) <= MAX_CATEGORIES:
            observed = {"categories": sorted(set(values))}
        elif dtype in {"float64", "int64"} and values:
            observed = {"minimum": float(min(values)), "maximum": float(max(values))}
        if name in examples.words:
            observed["words"] = examples.words[name]
        try:
            columns.append(Column(name=name, dtype=dtype, nullable=None in cells, **observed))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise NotPackaged(
                f"column {name!r} cannot be served: {problem['msg']}. Rename it."
            ) from None
    return columns


def usual_layout(columns: Sequence[Column]) -> Layout:
    """An array for numbers and booleans, texts for one column of strings, else a frame."""
    dtypes = {column.dtype for column in columns}
    if dtypes <= {"float64", "int64", "bool"}:
        return "array"
    return "text" if dtypes == {"string"} and len(columns) == 1 else "frame"


def columns_of_layout(columns: Sequence[Column], layout: Layout) -> list[Column]:
    """The columns as a signature of this layout has them."""
    if layout == "array":
        return [
            column.model_copy(update={"dtype": "float64"}) if column.dtype == "int64" else column
            for column in columns
        ]
    if layout == "text":
        return [column.model_copy(update={"categories": None}) for column in columns]
    return list(columns)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number of JSON: Python's booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shortened(names: Iterable[object]) -> str:
    texts = [str(name) for name in names]
    shown_names = [name if name == name.strip() else repr(name) for name in texts]
    return one_line(", ".join(shown_names), most=200)


def _dtype(cells: Sequence[object], whole: bool) -> DType:
    first = next((cell for cell in cells if cell is not None), 0.0)
    if isinstance(first, bool):
        return "bool"
    if isinstance(first, str):
        return "string"
    return "int64" if whole else "float64"


def _fits(cell: object, dtype: DType) -> bool:
    if dtype in {"bool", "string", "datetime"}:
        return isinstance(cell, bool if dtype == "bool" else str)
    return is_number(cell) and abs(cell) <= (INT64_MAX if dtype == "int64" else FLOAT32_MAX)
