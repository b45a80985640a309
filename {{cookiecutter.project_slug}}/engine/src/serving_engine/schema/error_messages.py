"""Messages of invalid input: they name the place in the body, and never repeat the value."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pydantic_core import ErrorDetails

from ..errors import FieldError

MAX_ERRORS = 20
MAX_NAME = 200
"""Characters of a name in an error response: as many as a column's name may have."""

_MESSAGES = {
    "missing": "is missing",
    "finite_number": "must be a finite number",
    "float_type": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of 64 bits",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "datetime_naive": "must be a date or a time without an offset, as 2026-01-31T12:00:00",
    "datetime_aware": "must be a time with an offset, as 2026-01-31T12:00:00Z",
    "literal_error": "must be one of the values that the model knows",
    "less_than_equal": "must be at most {le}",
    "greater_than_equal": "must be at least {ge}",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "dict_type": "must be an object",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def field_errors(errors: Iterable[ErrorDetails], columns: Sequence[str]) -> list[FieldError]:
    """Our messages for pydantic's errors; the message for an array's item names its column."""
    return [
        FieldError(
            pointer(error["loc"]),
            _error_message(error["type"], error.get("ctx", {}), error["loc"], columns),
        )
        for error in errors
    ]


def unknown_members(
    location: Sequence[str | int], names: Iterable[str], known: Sequence[str]
) -> list[FieldError]:
    """One error for each name that is not `known`, at most MAX_ERRORS.

    location: of the object whose member names are given.
    """
    allowed = set(known)
    unknown = (name for name in names if name not in allowed)
    return [
        FieldError(pointer((*location, name)), "is not known")
        for name in islice(unknown, MAX_ERRORS)
    ]


def table_hint(document: object) -> str | None:
    """A remark on an object that is a table by columns, as pandas writes it; else None.

    A cell is never an object or an array, so an object of nothing else is no row.
    """
    values = list(document.values()) if isinstance(document, dict) else []
    if not values or not all(isinstance(value, dict | list) for value in values):
        return None
    return (
        "is a table by columns, and not rows, which are objects by column name: "
        "`DataFrame.to_json(orient='records')` writes them"
    )


def body_hint(document: object) -> str:
    """What is wrong with a body that does not have the form of a request, and its form."""
    form = 'It is {"instances": [...]}, an object with a list of rows.'
    if isinstance(document, list):
        return f"The body is a list, and not a request. {form}"
    rows = document.get("instances", document) if isinstance(document, dict) else None
    if hint := table_hint(rows):
        return f"The body {hint}. {form}"
    return f"The body does not have the form of a request. {form}"


def pointer(location: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); long names are cut so that an error response stays small."""
    parts = [str(part)[:MAX_NAME].replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)


def _error_message(
    kind: str, context: dict[str, Any], location: Sequence[str | int], columns: Sequence[str]
) -> str:
    message = _MESSAGES.get(kind, "is not valid").format(**context)
    column = location[2] if len(location) > 2 else None  # noqa: PLR2004 - instances, row, column
    if isinstance(column, int) and column < len(columns):
        return f"{message} ({columns[column]})"
    return message
