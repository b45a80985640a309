"""Request bodies to rows: `{"instances": [...]}`, as objects by name or as arrays in order.

Nothing that a client sends may hold up the event loop. The JSON is decoded once, then checked by
pydantic, which stops at the first bad row and only points to what it rejects: given raw bytes, it
copies the whole row into the error of every missing column (1 MiB of unknown names against 100
columns took 5.5 s). A body of far more arrays and objects than rows is refused without being
decoded: half a million of them fit into 1 MiB, and making them takes longer than all the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json

from ..errors import FieldError, InvalidInput, InvalidJSON, RequestError
from .signature import Cell, Column, Signature
from .violations import MOST_ERRORS, unknown_members, violations

_SLACK = 4
"""A few thousand rows too many are still decoded, and told what is wrong with the first."""

Values = Sequence[Sequence[Cell]] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The validated rows of one request.

    values: one sequence per row, in signature order, of what the columns' dtypes say: finite
    floats, integers, booleans or strings (None where nullable); or, for an array layout, all of
    them as one array, (n, columns) float64 (NaN where nullable).
    timeout: seconds that the client is willing to wait; None for the server's own deadline.
    """

    values: Values
    timeout: float | None = None

    def __len__(self) -> int:
        return len(self.values)


def joined(parts: Sequence[Rows]) -> Values:
    """The rows of several requests, one after the other."""
    if len(parts) == 1:
        return parts[0].values
    arrays = [part.values for part in parts if isinstance(part.values, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return [row for part in parts for row in part.values]


class RequestParser:
    """Parses the bodies of `POST /predict` for one signature."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._columns = signature.columns
        self._max_rows = max_rows
        brackets = sum(name.count("[") + name.count("{") for name in self._columns)
        self._most_containers = _SLACK * (2 + max_rows * (1 + brackets))
        self._has_strings = any(column.dtype == "string" for column in signature.inputs)
        cells = [_cell(column) for column in signature.inputs]
        fields = zip(self._columns, map(core_schema.typed_dict_field, cells), strict=True)
        self._by_name = _body(core_schema.typed_dict_schema(dict(fields)), max_rows)
        self._in_order = _body(core_schema.tuple_schema(cells), max_rows)

    def parse(self, body: bytes, timeout: float | None = None) -> Rows:
        """Parse one body.

        Raises InvalidJSON, or InvalidInput with the errors of the first bad row.
        """
        return self.check(self.decode(body), timeout)

    def decode(self, body: bytes, nan: bool = False) -> Any:
        """The JSON of a body with at most as many rows as a request may have.

        nan: whether NaN and Infinity are read, which are not JSON.
        Raises InvalidJSON, or InvalidInput for far more rows.
        """
        if self.floods(body, self._most_containers):
            raise self._flood(body)
        return _decode(body, nan)

    def check(self, document: Any, timeout: float | None = None) -> Rows:
        """Check a body that is decoded already: `{"instances": [...]}`.

        Raises InvalidInput with the errors of the first bad row.
        """
        in_order = _first_row_is_array(document)
        try:
            parsed = (self._in_order if in_order else self._by_name).validate_python(document)
        except ValidationError as error:
            raise self._refusal(error, document) from None
        # pydantic ignored unknown members: naming each costs it more than all the rest.
        if len(document) != 1:
            raise InvalidInput(
                "The body has unknown members.", unknown_members((), document, ["instances"])
            )
        rows = parsed["instances"]
        if in_order:
            return Rows(rows, timeout)
        for number, given in enumerate(document["instances"]):
            if len(given) != len(self._columns):
                raise _misfit(number, self._unknown_columns(number, given))
        return Rows([list(row.values()) for row in rows], timeout)

    def floods(self, body: bytes, most: int) -> bool:
        """Whether a body has more than so many arrays and objects; counted, not decoded."""
        return _containers(body) > most and (
            not self._has_strings or _containers(_outside_strings(body)) > most
        )

    def _flood(self, body: bytes) -> RequestError:
        """Tell whether the body is JSON without making objects of it.

        orjson makes none before it has read everything, so one character too many stops it.
        """
        try:
            orjson.loads(body + b" x")
        except orjson.JSONDecodeError as error:
            at_the_end = "after document" in error.msg and error.pos == len(error.doc) - 1
            if not at_the_end and "infinity" not in error.msg:
                return _not_json(error)
        message = f"must have at most {self._max_rows} items, and nothing nested in them"
        return InvalidInput(
            "The body does not have the form of a request.", [FieldError("/instances", message)]
        )

    def _refusal(self, error: ValidationError, document: Any) -> InvalidInput:
        found = error.errors(include_url=False, include_input=False)
        errors = violations(found[:MOST_ERRORS], self._columns)
        location = found[0]["loc"]
        if len(location) < 2:  # noqa: PLR2004 - not inside a row
            return InvalidInput("The body does not have the form of a request.", errors)
        number = int(location[1])
        row = document["instances"][number]
        if isinstance(row, dict):
            errors += self._unknown_columns(number, row)
        return _misfit(number, errors)

    def _unknown_columns(self, number: int, row: dict[str, Any]) -> list[FieldError]:
        return unknown_members(("instances", number), row, self._columns)


def _misfit(number: int, errors: Sequence[FieldError]) -> InvalidInput:
    return InvalidInput(f"Row {number} does not fit the model's signature.", errors)


def _containers(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_strings(body: bytes) -> bytes:
    """A JSON text without what stands in its strings: brackets in there make no objects."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _cell(column: Column) -> core_schema.CoreSchema:
    value = _TYPES[column.dtype](column)
    if column.allowed is not None:
        value = core_schema.chain_schema([value, core_schema.literal_schema(column.allowed)])
    return core_schema.nullable_schema(value) if column.nullable else value


def _float(column: Column) -> core_schema.CoreSchema:
    low, high = column.bounds
    return core_schema.float_schema(strict=True, allow_inf_nan=False, ge=low, le=high)


def _integer(column: Column) -> core_schema.CoreSchema:
    """1.0 is an integer in JSON Schema, and so it is here; "1" and true are none."""
    low, high = map(int, column.bounds)
    number = core_schema.union_schema(
        [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True)],
        custom_error_type="int_type",
    )
    return core_schema.chain_schema([number, core_schema.int_schema(ge=low, le=high)])


_TYPES: dict[str, Callable[[Column], core_schema.CoreSchema]] = {
    "float64": _float,
    "int64": _integer,
    "bool": lambda _: core_schema.bool_schema(strict=True),
    "string": lambda _: core_schema.str_schema(strict=True),
}


def _body(row: core_schema.CoreSchema, max_rows: int) -> SchemaValidator:
    instances = core_schema.list_schema(row, min_length=1, max_length=max_rows, fail_fast=True)
    field = core_schema.typed_dict_field(instances)
    return SchemaValidator(core_schema.typed_dict_schema({"instances": field}))


def _decode(body: bytes, nan: bool) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg and not nan:
            raise _not_json(error) from None
    # 1e400 is JSON, and no number of the model: it is refused by its place, as 1e39 is.
    try:
        return from_json(body, allow_inf_nan=nan)
    except ValueError as error:
        raise _not_json(error) from None


def _not_json(error: ValueError) -> InvalidJSON:
    return InvalidJSON(f"The body is not JSON: {error}.")


def _first_row_is_array(document: Any) -> bool:
    instances = document.get("instances") if isinstance(document, dict) else None
    return isinstance(instances, list) and bool(instances) and isinstance(instances[0], list)
