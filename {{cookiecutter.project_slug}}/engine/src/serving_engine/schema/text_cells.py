"""Text to cells: parses the fields of a table of text, such as CSV."""

from .signature import Cell, Column

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null"})
"""Fields that mean a missing value; in a column of strings only the empty field does."""

BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def parse_cell(text: str, column: Column) -> Cell:
    """The value of a field; the text itself, which `RequestParser` then rejects, if it is not of
    the column's type."""
    if column.dtype == "string":
        return None if text == "" and column.nullable else text
    if text in MISSING:
        return None
    if column.dtype == "bool":
        return BOOLEANS.get(text, text)
    number = parse_number(text)
    if number is None:
        return text
    return int(text) if column.dtype == "int64" and number.is_integer() else number


def parse_number(text: str) -> float | None:
    """The number in a field, or None if it is no number. `1_000` is none, unlike in Python."""
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
