"""Reads rows from CSV, TSV, JSON and JSON Lines files."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from ..errors import UsageError
from ..model_files.zip_check import content_hint
from ..schema.error_messages import table_hint
from ..schema.signature import Column, DType
from ..schema.text_cells import BOOLEANS, MISSING, parse_column, parse_number, read_table
from ..text import is_missing, reason

Row = dict[str, Any]
TABLES = (".csv", ".tsv", ".txt")
"""Suffixes of tables of text."""

PACKAGE = "run the command with `uv run --extra package`"
_NO_ROWS = re.compile(rb"\s*(<!doctype|<html|version https://git-lfs)", re.I)
"""The first bytes of a web page, and of a Git LFS pointer."""


def read_rows(
    path: Path, columns: Sequence[Column] = (), missing: Counter[str] | None = None
) -> list[Row]:
    """Read every row of a file, by column name.

    columns: the known columns. A table of text has text only: a column that is not known has floats
    or booleans if every field is one, else strings. NaN becomes None.
    missing: counts, by column, the fields of a table that hold a word for a missing value.
    Raises UsageError if the file is missing, has an unsupported suffix, or is not valid.
    """
    suffix = path.suffix.lower()
    readers = {
        ".json": _read_json,
        ".jsonl": _read_lines,
        **dict.fromkeys(TABLES, _read_text_table),
    }
    reader = readers.get(suffix)
    if reader is None:
        raise UsageError(
            f"{path} has an unsupported suffix. Use .csv, .tsv, .json, .jsonl or .parquet."
        )
    check_content(path)
    with reading(path), open_text(path) as file:
        rows = reader(file)
    check_rows(rows, str(path))
    return _parse_cells(rows, columns, missing) if suffix in TABLES else rows


def open_text(path: Path) -> TextIO:
    """Open a file of text as the readers of lines expect it."""
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise UsageError, one line, for what goes wrong when a file of text is read."""
    suffix = path.suffix.lower()
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8. Save it in that encoding.") from None
    except (ValueError, csv.Error) as error:
        several = suffix == ".json" and "Extra data" in str(error)
        remedy = " JSON Lines has the suffix .jsonl." if several else ""
        raise UsageError(f"{path} is not valid {suffix[1:].upper()}: {error}.{remedy}") from None


def read_inline(text: str) -> list[Row]:
    """Read rows from JSON text. Raises UsageError if it is not valid, or holds no rows."""
    try:
        rows = _json_rows(json.loads(text))
    except ValueError as error:
        raise UsageError(f"the rows are not valid JSON: {error}.") from None
    check_rows(rows, "the text")
    return rows


def check_rows(rows: Sequence[object], source: str) -> None:
    """Raise UsageError unless there are rows, all of them by column name."""
    hint = None if len(rows) != 1 else table_hint(rows[0])
    if hint:
        raise UsageError(f"{source} {hint}.")
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(
            f"{source} holds no rows of named columns. A row is an object such as "
            '{"age": 41}, or a line below a header of CSV.'
        )


def check_content(path: Path) -> None:
    """Raise UsageError if a file is a web page or a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            data = file.read(64)
    except OSError:
        return  # the reader of the rows reports it
    if _NO_ROWS.match(data):
        hint = content_hint(data)
        raise UsageError(f"{path} holds no rows{hint.remark}. {hint.remedy}")


def not_parquet(path: Path, error: Exception) -> str:
    """The error for a Parquet file that cannot be read."""
    return f"{path} is damaged, or not a Parquet file ({reason(error)}). Write it again."


def _parse_cells(
    rows: list[Row], columns: Sequence[Column], missing: Counter[str] | None
) -> list[Row]:
    """The rows of a table of text, with cells of the columns' types."""
    known = {column.name: column for column in columns}
    for name in filter(None, rows[0]):  # None is the name of the surplus fields of a long row
        texts = [row.get(name) or "" for row in rows]
        column = known.get(name) or Column(name="column", dtype=_guess_dtype(texts), nullable=True)
        for row, text, cell in zip(rows, texts, parse_column(texts, column), strict=True):
            if name in row:
                row[name] = cell
                if missing is not None and text and cell is None:
                    missing[name] += 1
    return rows


def _guess_dtype(texts: Iterable[str]) -> DType:
    values = {text for text in texts if text not in MISSING}
    if values and values <= BOOLEANS.keys():
        return "bool"
    return "string" if any(parse_number(text) is None for text in values) else "float64"


def _read_text_table(file: TextIO) -> list[Row]:
    """The rows of a table of text, by the names in its first line.

    A line with fewer values than names ends with missing values; one with more has other names.
    """
    names, _, lines = read_header(file)
    return [_row(names, fields) for fields in lines]


def read_header(file: TextIO) -> tuple[list[str], str, Iterator[list[str]]]:
    """The names in the first line of a table of text, its delimiter, and its other lines as fields.

    Raises ValueError if two columns have the same name.
    """
    delimiter, lines = read_table(file)
    names = next(lines, [])
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]}")
    return names, delimiter, lines


def _row(names: Sequence[str], fields: Sequence[str]) -> Row:
    row: dict[Any, Any] = dict(zip_longest(names, fields[: len(names)], fillvalue=""))
    if len(fields) > len(names):
        row[None] = fields[len(names) :]
    return row


def _read_json(file: TextIO) -> list[Row]:
    return _json_rows(json.load(file))


def _read_lines(file: Iterable[str]) -> list[Row]:
    return _json_rows([json.loads(line) for line in file if line.strip()])


def _json_rows(document: Any) -> list[Row]:
    """The rows of a JSON document: a list of rows, one row, or the body of a request."""
    if isinstance(document, dict):
        document = document.get("instances", [document])
    rows = document if isinstance(document, list) else []
    return [
        {name: json_value(value) for name, value in row.items()} if isinstance(row, dict) else row
        for row in rows
    ]


def json_value(value: Any) -> Any:
    """None for NaN, a date or a time as text, any other value unchanged."""
    if isinstance(value, date):
        return value.isoformat()
    return None if is_missing(value) else value


def import_pyarrow() -> Any:
    """Import pyarrow, with its reader and writer of Parquet. Raises UsageError."""
    try:
        import pyarrow.parquet  # noqa: PLC0415 - part of an extra
    except ImportError:
        raise UsageError(f"Parquet needs pyarrow, which is not installed: {PACKAGE}.") from None
    return pyarrow
