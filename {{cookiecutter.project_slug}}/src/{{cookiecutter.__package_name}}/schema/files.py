"""Rows from files that people have: CSV, JSON, JSON Lines, Parquet."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from ..errors import UsageError
from .signature import Cell, Column

Row = dict[str, Any]

# What a table says where a value is missing; of text only the empty field counts.
_MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null"}
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_rows(path: Path, columns: Sequence[Column] = ()) -> list[Row]:
    """Read every row of a file, by column name; `-` reads JSON Lines from standard input.

    columns: what is known of the columns. A CSV file has text only: a column that is not known is
    of floats or booleans where every field reads as one, else of strings. NaN is None.
    Raises UsageError if the file is missing, of an unknown kind, or not what its name says.
    """
    suffix = ".jsonl" if str(path) == "-" else path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    reader = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_lines}.get(suffix)
    if reader is None:
        raise UsageError(f"{path}: unknown kind of file. Use .csv, .json, .jsonl or .parquet.")
    try:
        with (
            nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8-sig") as file
        ):
            rows = reader(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from None
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} is not valid {suffix[1:].upper()}: {error}.") from None
    check_rows(rows, str(path))
    return typed(rows, columns) if suffix == ".csv" else rows


def read_inline(text: str) -> list[Row]:
    """Read rows that are given as JSON. Raises UsageError if it is none, or holds no rows."""
    try:
        rows = json_rows(json.loads(text))
    except ValueError as error:
        raise UsageError(f"the rows are not valid JSON: {error}.") from None
    check_rows(rows, "the text")
    return rows


def check_rows(rows: Sequence[object], source: str) -> None:
    """Raises UsageError unless there are rows, by column name."""
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{source} holds no rows of named columns.")


def typed(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows of a table of text, with values of the columns' types."""
    known = {column.name: column for column in columns}
    for name in filter(None, rows[0]):  # fields without a name, of rows that are too long
        texts = [row.get(name) or "" for row in rows]
        column = known.get(name) or Column(name="column", dtype=_guess(texts), nullable=True)
        for row, text in zip(rows, texts, strict=True):
            if name in row:
                row[name] = _cell(text, column)
    return rows


def _guess(texts: Iterable[str]) -> Any:
    given = {text for text in texts if text not in _MISSING}
    if given and given <= _TRUTH.keys():
        return "bool"
    try:
        for text in given:
            float(text)
    except ValueError:
        return "string"
    return "float64"


def _cell(text: str, column: Column) -> Cell:
    """A field as a value; as it is, for the parser to refuse, where it is none of this type."""
    if column.dtype == "string":
        return None if text == "" and column.nullable else text
    if text in _MISSING:
        return None
    if column.dtype == "bool":
        return _TRUTH.get(text, text)
    try:
        number = float(text)
        return int(text) if column.dtype == "int64" and number.is_integer() else number
    except ValueError:
        return text


def _read_csv(file: TextIO) -> list[Row]:
    return list(csv.DictReader(file))


def _read_json(file: TextIO) -> list[Row]:
    return json_rows(json.load(file))


def _read_lines(file: Iterable[str]) -> list[Row]:
    return json_rows([json.loads(line) for line in file if line.strip()])


def json_rows(document: Any) -> list[Row]:
    """The rows of a JSON document: a list, one row, or the body of a request."""
    if isinstance(document, dict):
        document = document.get("instances", [document])
    rows = document if isinstance(document, list) else []
    return [
        {name: _present(value) for name, value in row.items()} if isinstance(row, dict) else row
        for row in rows
    ]


def _present(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _read_parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - part of an extra
    except ImportError:
        raise UsageError("Parquet needs pyarrow: `uv sync --extra package`.") from None
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    check_rows(rows, str(path))
    return json_rows(rows)
