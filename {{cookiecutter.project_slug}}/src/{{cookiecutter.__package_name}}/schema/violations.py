"""What is wrong with a body, in words that name the place and never the rejected value."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pydantic_core import ErrorDetails

from ..errors import FieldError

MOST_ERRORS = 20
LONGEST_NAME = 200
"""Characters of a name in an answer: as many as a column's name may have."""

_MESSAGES = {
    "missing": "is missing",
    "finite_number": "must be a finite number",
    "float_type": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of 64 bits",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "literal_error": "must be one of the values that the model knows",
    "less_than_equal": "must be at most {le}",
    "greater_than_equal": "must be at least {ge}",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "dict_type": "must be an object",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def violations(found: Iterable[ErrorDetails], columns: Sequence[str]) -> list[FieldError]:
    """Our words for pydantic's; an index into a row of numbers is explained by its column."""
    return [
        FieldError(
            pointer(item["loc"]), _message(item["type"], item.get("ctx", {}), item["loc"], columns)
        )
        for item in found
    ]


def unknown_members(
    place: Sequence[str | int], given: Iterable[str], known: Sequence[str]
) -> list[FieldError]:
    """One error for each of the first members of an object that are not `known`."""
    allowed = set(known)
    unknown = (name for name in given if name not in allowed)
    return [
        FieldError(pointer((*place, name)), "is not known") for name in islice(unknown, MOST_ERRORS)
    ]


def pointer(location: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); long names are cut so that an answer stays small."""
    parts = [str(part)[:LONGEST_NAME].replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)


def _message(
    kind: str, context: dict[str, Any], location: Sequence[str | int], columns: Sequence[str]
) -> str:
    message = _MESSAGES.get(kind, "is not valid").format(**context)
    column = location[2] if len(location) > 2 else None  # noqa: PLR2004 - instances, row, column
    if isinstance(column, int) and column < len(columns):
        return f"{message} ({columns[column]})"
    return message
