"""Request bodies to rows: `{"instances": [...]}`, as objects by name or as arrays in order.

One pass of pydantic over the raw bytes checks the JSON and the types. It stops at the first bad
row, never keeps what it rejected, and treats unknown keys as a count until one must be named: a
body full of mistakes costs no more than a good one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from ..errors import InvalidInput, InvalidJSON, RequestError
from .signature import Column, Signature
from .violations import MOST_ERRORS, unknown_members, violations

_FIRST_ROW = re.compile(rb'\s*\{\s*"instances"\s*:\s*\[\s*(.)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rows:
    """The validated rows of one request.

    values: one sequence per row, in signature order, of finite floats (None where nullable).
    timeout: seconds that the client is willing to wait; None for the server's own deadline.
    """

    values: Sequence[Sequence[float | None]]
    timeout: float | None = None

    def __len__(self) -> int:
        return len(self.values)


class RequestParser:
    """Parses the bodies of `POST /predict` for one signature."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._columns = signature.columns
        types = [_type_of(column) for column in signature.inputs]
        by_name = _open_dict("Instance", dict(zip(self._columns, types, strict=True)))
        self._by_name = _body(by_name, max_rows)
        self._in_order = _body(tuple[tuple(types)], max_rows)  # type: ignore[misc]

    def parse(self, body: bytes, timeout: float | None = None) -> Rows:
        """Parse one body.

        Raises InvalidJSON, or InvalidInput with the errors of the first bad row.
        """
        first_row = _FIRST_ROW.match(body)
        in_order = first_row[1] == b"[" if first_row else _first_row_is_array(body)
        try:
            parsed = (self._in_order if in_order else self._by_name).validate_json(body)
        except ValidationError as error:
            raise self._refusal(error, body) from None
        if len(parsed) != 1:
            raise InvalidInput(
                "The body has unknown members.", unknown_members((), parsed, ["instances"])
            )
        instances = parsed["instances"]
        if in_order:
            return Rows(instances, timeout)
        for number, row in enumerate(instances):
            if len(row) != len(self._columns):
                raise self._misfit(
                    number, unknown_members(("instances", number), row, self._columns)
                )
        return Rows([list(row.values()) for row in instances], timeout)

    def _refusal(self, error: ValidationError, body: bytes) -> RequestError:
        document = _decode(body)
        errors = violations(error, self._columns)
        location = error.errors(include_url=False, include_input=False)[0]["loc"]
        if len(location) < 2:  # noqa: PLR2004 - not inside a row
            return InvalidInput("The body does not have the form of a request.", errors)
        number = int(location[1])
        row = document["instances"][number]
        if isinstance(row, dict):
            errors += unknown_members(location[:2], row, self._columns)
        return self._misfit(number, errors[:MOST_ERRORS])

    @staticmethod
    def _misfit(number: int, errors: Sequence[Any]) -> InvalidInput:
        return InvalidInput(f"Row {number} does not fit the model's signature.", errors)


def _type_of(column: Column) -> Any:
    low, high = column.bounds
    kind: Any = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=low, le=high)]
    return kind | None if column.nullable else kind


def _open_dict(name: str, fields: dict[str, Any]) -> Any:
    """A typed dictionary that keeps unknown keys, for the caller to count and to refuse."""
    make: Any = TypedDict  # type checkers only know it with literal names
    kind = make(name, fields)
    kind.__pydantic_config__ = ConfigDict(extra="allow")
    return kind


def _body(row: Any, max_rows: int) -> TypeAdapter[dict[str, Any]]:
    instances = Annotated[list[row], FailFast(), Field(min_length=1, max_length=max_rows)]
    return TypeAdapter(_open_dict("Body", {"instances": instances}))


def _decode(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJSON(f"The body is not JSON: {error}.") from None


def _first_row_is_array(body: bytes) -> bool:
    """Tell the form of a body whose first member is not a plain `"instances"`."""
    document = _decode(body)
    instances = document.get("instances") if isinstance(document, dict) else None
    return isinstance(instances, list) and bool(instances) and isinstance(instances[0], list)
