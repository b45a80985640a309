"""Rows from files that people have: CSV, JSON, JSON Lines, Parquet."""

import csv
import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from ..errors import UsageError

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read every row of a file, by column name; `-` reads JSON Lines from standard input.

    An empty CSV field is None and one that looks like a number is a float.
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
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} holds no rows of named columns.")
    return rows


def _read_csv(file: TextIO) -> list[Row]:
    return [{name: _cell(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _cell(value: Any) -> Any:
    if value == "" or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _read_json(file: TextIO) -> list[Row]:
    document = json.load(file)
    if isinstance(document, dict):
        document = document.get("instances", [document])
    return document if isinstance(document, list) else []


def _read_lines(file: Iterable[str]) -> list[Row]:
    return [json.loads(line) for line in file if line.strip()]


def _read_parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - part of an extra
    except ImportError:
        raise UsageError("Parquet needs pyarrow: `uv sync --extra package`.") from None
    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    return rows
