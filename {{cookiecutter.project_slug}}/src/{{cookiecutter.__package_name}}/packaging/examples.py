"""Example rows of a model, from what its owner has: a file, a pickled DataFrame, or JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib

from ..artifact.refusals import reason
from ..schema.files import Row, check_rows, read_inline, read_rows
from .estimator import PICKLES, NotPackaged, warn_of_pickle


@dataclass(frozen=True)
class Examples:
    """Rows by column name, of what JSON has; None where a value is missing.

    whole: names of the columns that are of integers, where the source says so. categories: those
    of columns that pandas holds as categories. frame: the rows as their owner's DataFrame, where
    the source is one.
    """

    rows: list[Row]
    whole: frozenset[str] = frozenset()
    categories: Mapping[str, list[Any]] = field(default_factory=dict)
    frame: Any = None


def read_examples(source: Path | str) -> Examples:
    """Read example rows. Columns of text files are typed by what stands in them.

    Raises UsageError if there are none. A pickle runs code of its own.
    """
    if isinstance(source, str) and source.lstrip()[:1] in {"[", "{"}:
        return Examples(read_inline(source))
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in PICKLES and path.exists():
        return _of_frame(_read_pickle(path), path)
    if suffix == ".parquet" and path.exists():
        return _of_frame(_read_parquet(path), path)
    return Examples(read_rows(path))


def table(examples: Examples, columns: Sequence[str]) -> Any:
    """The rows as a DataFrame of these columns; None where pandas is not installed."""
    if examples.frame is not None:
        return examples.frame[list(columns)]
    try:
        pandas = import_module("pandas")  # part of an extra
    except ImportError:
        return None
    frame = pandas.DataFrame([[row[name] for name in columns] for row in examples.rows])
    frame.columns = list(columns)
    return frame.where(frame.notna(), float("nan"))  # as `pandas.read_csv` has it, never None


def _read_parquet(path: Path) -> Any:
    try:
        return import_module("pandas").read_parquet(path)
    except ImportError:
        raise NotPackaged("Parquet needs `uv sync --extra package`.") from None
    except Exception as error:  # pyarrow's own, and the system's
        raise NotPackaged(f"cannot read {path}: {reason(error)}.") from None


def _read_pickle(path: Path) -> Any:
    warn_of_pickle(path)
    try:
        return joblib.load(path)
    except Exception as error:  # a pickle raises what it likes
        raise NotPackaged(f"{path} cannot be read ({reason(error)}).") from error


def _of_frame(frame: Any, path: Path) -> Examples:
    if not hasattr(frame, "columns") or not hasattr(frame, "dtypes"):
        raise NotPackaged(f"{path} holds a {type(frame).__name__} and no DataFrame.")
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    objects = frame.astype(object)
    records = objects.where(frame.notna(), None).to_dict("records")
    rows = [{name: _plain(value) for name, value in record.items()} for record in records]
    check_rows(rows, str(path))
    whole = {name for name, kind in frame.dtypes.items() if getattr(kind, "kind", "") in "iu"}
    categories = {
        name: kind.categories.tolist()
        for name, kind in frame.dtypes.items()
        if hasattr(kind, "categories")
    }
    return Examples(rows, frozenset(whole), categories, frame)


def _plain(value: Any) -> Any:
    """A scalar of NumPy as Python has it."""
    return value.item() if hasattr(value, "item") else value
