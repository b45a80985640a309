"""Text to cells: reads tables of text, such as CSV, as `pandas.read_csv` reads them by default.

One reader serves `model package`, `predict` and the CSV bodies of requests. It needs no pandas.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from .signature import Cell, Column

if TYPE_CHECKING:
    from _csv import Reader

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
        *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""Fields that mean a missing value: the default `na_values` of `pandas.read_csv` in pandas 3. A
word that the model knows as a category is none: `Column.words`."""

BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity)", re.I)
_INTEGER = re.compile(" *[+-]?[0-9]+ *")
_DELIMITERS = (",", ";", "\t", "|")


def read_table(lines: Iterable[str]) -> tuple[str, Iterator[list[str]]]:
    """Return the delimiter of a table of text, and its lines as fields; empty lines are left out.

    lines: with their line ends. The delimiter is the comma, semicolon, tab or bar that the first
    line has most of. Iterating raises `csv.Error`.
    """
    rest = iter(lines)
    first = next(rest, "").removeprefix("\ufeff")
    unquoted = re.sub('"[^"]*"', "", first)
    delimiter = max(_DELIMITERS, key=unquoted.count)
    reader = read_fields(chain([first], rest), delimiter)
    return delimiter, (fields for fields in reader if fields)


def read_fields(lines: Iterable[str], delimiter: str) -> "Reader":
    """The lines of a table of text as fields; an empty line has none.

    Iterating raises `csv.Error` at a line that is not valid, and goes on after it.
    """
    return csv.reader(lines, delimiter=delimiter, strict=True)


def parse_column(texts: Sequence[str], column: Column) -> list[Cell]:
    """The values of a column's fields: `parse_cell` of each, faster where it is the same."""
    if column.dtype == "float64":
        known = texts
        if not _is_decimal("".join(texts).encode()):
            known = ["" if text in MISSING else text for text in texts]
        if known is texts or _is_decimal("".join(known).encode()):
            with suppress(ValueError):
                return [float(text) if text else None for text in known]
    cells = {text: parse_cell(text, column) for text in set(texts)}
    return [cells[text] for text in texts]


def _is_decimal(text: bytes) -> bool:
    """Whether a text has only characters of decimal numbers.

    What `float` makes of such a field, or refuses, is what `parse_number` does.
    """
    return not text.translate(None, b"0123456789.+-eE ")


def parse_cell(text: str, column: Column) -> Cell:
    """The value of a field; the text itself, which `RequestParser` then rejects, if it is not of
    the column's type."""
    if column.dtype == "string":
        missing = text in MISSING and text not in column.words and column.nullable
        return None if missing else text
    if text in MISSING:
        return None
    if column.dtype == "datetime":
        return text
    if column.dtype == "bool":
        return BOOLEANS.get(text, text)
    number = parse_number(text)
    if number is None:
        return text
    # All digits of a long integer. 1.0 and 1e3 are integers too, which `int` does not read.
    exact = column.dtype == "int64" and number.is_integer() and _INTEGER.fullmatch(text)
    return int(text) if exact else number


def parse_number(text: str) -> float | None:
    """The number in a field, or None if it is no number. `1_000` and `1,5` are none."""
    text = text.strip(" ")
    return float(text) if _NUMBER.fullmatch(text) else None
