"""Reads example rows from a file, a pickled DataFrame, or JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib

from ..text import reason
from .read_estimator import PICKLES, NotPackaged, warn_of_pickle
from .row_files import Row, check_rows, read_inline, read_rows


@dataclass(frozen=True)
class Examples:
    """Rows by column name, with values of JSON's types; None means a missing value.

    whole: names of the integer columns, if the source has types. categories: of each pandas
    Categorical, by column name. frame: the DataFrame, if the source holds one.
    """

    rows: list[Row]
    whole: frozenset[str] = frozenset()
    categories: Mapping[str, list[Any]] = field(default_factory=dict)
    frame: Any = None


def read_examples(source: Path | str) -> Examples:
    """Read example rows. Columns of a text file get the types of their values.

    source: a path, or JSON text. A pickle may run any code.
    Raises UsageError if the source cannot be read or holds no rows.
    """
    if isinstance(source, str) and source.lstrip()[:1] in {"[", "{"}:
        return Examples(read_inline(source))
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in PICKLES and path.exists():
        return _from_frame(_read_pickled_frame(path), path)
    if suffix == ".parquet" and path.exists():
        return _from_frame(_read_parquet_frame(path), path)
    return Examples(read_rows(path))


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
    try:
        return import_module("pandas").read_parquet(path)
    except ImportError:
        raise NotPackaged("Parquet needs `uv sync --extra package`.") from None
    except Exception as error:  # exceptions of pyarrow and of the operating system
        raise NotPackaged(f"cannot read {path}: {reason(error)}.") from None


def _read_pickled_frame(path: Path) -> Any:
    warn_of_pickle(path)
    try:
        return joblib.load(path)
    except Exception as error:  # a pickle may raise any exception
        raise NotPackaged(f"{path} cannot be read ({reason(error)}).") from error


def _from_frame(frame: Any, path: Path) -> Examples:
    if not hasattr(frame, "columns") or not hasattr(frame, "dtypes"):
        raise NotPackaged(f"{path} holds a {type(frame).__name__}, not a DataFrame.")
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
    return Examples(rows, frozenset(whole), categories, frame)


def _python_scalar(value: Any) -> Any:
    """A scalar of NumPy as the Python scalar of the same value; any other value unchanged."""
    return value.item() if hasattr(value, "item") else value
