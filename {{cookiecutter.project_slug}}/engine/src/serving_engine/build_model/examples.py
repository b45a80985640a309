"""Reads example rows from a file, a pickled DataFrame, or JSON."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..runtimes.versions import LIBRARIES
from ..schema.signature import Column
from ..schema.text_cells import read_table
from ..text import reason
from .errors import NotPackaged
from .pickles import PICKLES, read_pickle
from .rejected_models import unreadable
from .row_files import (
    PACKAGE,
    Row,
    check_content,
    check_rows,
    not_parquet,
    read_inline,
    read_rows,
)


@dataclass(frozen=True)
class Examples:
    """Rows by column name, with values of JSON's types; None means a missing value.

    whole: names of the integer columns, if the source has types. categories: of each pandas
    Categorical, by column name. datetimes: unit and timezone of each column of datetimes.
    frame: the DataFrame, if the source holds one, or what pandas reads of a table of text. missing:
    how many fields of a table hold a word for a missing value, by column. words: those that the
    model knows as texts, by column.
    """

    rows: list[Row]
    whole: frozenset[str] = frozenset()
    categories: Mapping[str, list[Any]] = field(default_factory=dict)
    datetimes: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    frame: Any = None
    missing: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, list[str]] = field(default_factory=dict)


def read_examples(source: Path | str, columns: Sequence[Column] = ()) -> Examples:
    """Read example rows. Columns of a text file get the types of their values.

    source: a path, or JSON text. A pickle may run any code. columns: those whose type is known.
    Raises UsageError if the source cannot be read or holds no rows.
    """
    path = file_of(source)
    if path is None:
        return Examples(read_inline(str(source)))
    suffix = path.suffix.lower()
    if suffix in PICKLES and path.exists():
        return _from_frame(_read_pickled_frame(path), path)
    if suffix == ".parquet":
        return _from_frame(_read_parquet_frame(path), path)
    missing: Counter[str] = Counter()
    rows = read_rows(path, columns, missing)
    words = {column.name: column.words for column in columns if column.words}
    return Examples(rows, missing=missing, words=words)


def file_of(source: Path | str) -> Path | None:
    """The path of a file with examples; None if the source is their JSON text itself."""
    inline = isinstance(source, str) and source.lstrip()[:1] in {"[", "{"}
    return None if inline else Path(source)


def read_as_pandas(path: Path, examples: Examples, columns: Sequence[Column]) -> Examples:
    """Add what pandas reads of the examples' table of text; unchanged if pandas is not installed.

    columns: those that the model knows as texts. Raises NotPackaged.
    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError:
        return examples
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter, _ = read_table(file)
    try:
        frame = pandas.read_csv(
            path,
            sep=delimiter,
            dtype={column.name: "str" for column in columns},
            encoding="utf-8-sig",
            index_col=False,
        )
    except Exception as error:  # exceptions of pandas
        raise NotPackaged(f"pandas cannot read {path} ({reason(error)}).") from error
    frame.columns = [str(name) for name in frame.columns]
    for column in columns:
        if column.words:  # categories of the model, which `read_csv` takes for missing values
            cells = [row.get(column.name) for row in examples.rows]
            frame[column.name] = pandas.array(cells, dtype="str")
    return replace(examples, frame=frame)


def check_agreement(examples: Examples, names: Sequence[str]) -> None:
    """Check that the service reads a table of text as pandas does.

    names: the columns that the model takes. Raises NotPackaged at the first cell that differs.
    """
    if examples.frame is None:
        return
    for name in names:
        known = examples.frame[name].notna()
        theirs = examples.frame[name].astype(object).where(known, None).tolist()
        for number, (one, other) in enumerate(
            zip((row[name] for row in examples.rows), theirs, strict=True)
        ):
            if not _same_cell(one, _python_scalar(other)):
                raise NotPackaged(
                    f"example row {number}: column {name} is {other!r} as pandas reads it, and "
                    f"{one!r} as the service does. Write the field in a form that both know."
                )


def _same_cell(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-15)
    return one == other


def to_frame(examples: Examples, columns: Sequence[str]) -> Any:
    """The rows as a DataFrame of these columns; None if pandas is not installed."""
    if examples.frame is not None:
        return examples.frame[list(columns)]
    try:
        pandas = import_module("pandas")  # part of an extra
    except ImportError:
        return None
    frame = pandas.DataFrame([[row[name] for name in columns] for row in examples.rows])
    frame.columns = list(columns)
    return frame.where(frame.notna(), float("nan"))  # as `pandas.read_csv` reads it, never None


def _read_parquet_frame(path: Path) -> Any:
    check_content(path)
    try:
        return import_module("pandas").read_parquet(path)
    except ImportError:
        raise NotPackaged(f"Parquet needs pyarrow, which is not installed: {PACKAGE}.") from None
    except Exception as error:  # exceptions of pyarrow and of the operating system
        raise NotPackaged(not_parquet(path, error)) from None


def _read_pickled_frame(path: Path) -> Any:
    check_content(path)
    try:
        return read_pickle(path)
    except Exception as error:  # a pickle may raise any exception
        raise NotPackaged(unreadable(path, error, LIBRARIES)) from error


def _from_frame(frame: Any, path: Path) -> Examples:
    if not hasattr(frame, "columns") or not hasattr(frame, "dtypes"):
        raise NotPackaged(
            f"{path} holds a {type(frame).__name__}, not a DataFrame. Save the rows with "
            "`DataFrame.to_pickle(file)`, or as CSV."
        )
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    objects = frame.astype(object)
    records = objects.where(frame.notna(), None).to_dict("records")
    rows = [{name: _python_scalar(value) for name, value in row.items()} for row in records]
    check_rows(rows, str(path))
    whole = {name for name, kind in frame.dtypes.items() if getattr(kind, "kind", "") in "iu"}
    categories = {
        name: kind.categories.tolist()
        for name, kind in frame.dtypes.items()
        if hasattr(kind, "categories")
    }
    datetimes = {
        name: (_unit(kind), _zone(kind))
        for name, kind in frame.dtypes.items()
        if getattr(kind, "kind", "") == "M"
    }
    return Examples(rows, frozenset(whole), categories, datetimes, frame)


def _unit(kind: Any) -> str:
    """The unit of a datetime64 dtype of pandas, or of NumPy: datetime64[ns]."""
    return str(getattr(kind, "unit", None) or np.datetime_data(kind)[0])


def _zone(kind: Any) -> str | None:
    zone = getattr(kind, "tz", None)
    return None if zone is None else str(zone)


def _python_scalar(value: Any) -> Any:
    """A scalar of NumPy as the Python scalar of the same value, a datetime as text; any other value
    unchanged."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
