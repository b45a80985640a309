"""Parses request bodies into rows: `{"instances": [...]}`, objects by name or arrays in order.

No body may block the event loop. The JSON is decoded once, and pydantic then validates the decoded
objects up to the first invalid row: if pydantic decodes the bytes itself, it copies the whole row
into the error of every missing column (1 MiB of unknown names against 100 columns took 5.5 s). A
body with far more arrays and objects than rows is rejected before it is decoded: half a million of
them fit into 1 MiB, and creating them takes longer than everything else.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic_core import (
    PydanticCustomError,
    SchemaValidator,
    ValidationError,
    core_schema,
    from_json,
)

from ..errors import FieldError, InvalidInput, InvalidJSON, RequestError
from ..memory import load_json, reserve
from .error_messages import MAX_ERRORS, body_hint, field_errors, unknown_members
from .signature import YEARS, CellRows, Column, Signature, datetime_pattern

_SLACK = 4
"""How many times more arrays and objects than the row limit needs are still decoded, so that the
error message is exact."""

_ROW_BYTES = 256
_CELL_BYTES = 160
"""Memory of a validated row, and of each of its cells: a number, and its place in a dict."""

Values = CellRows | NDArray[np.float64]


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Rows:
    """The validated rows of one request.

    values: one sequence per row, in signature order, of finite floats, integers, booleans or
    strings as the columns' dtypes say, ISO 8601 text for datetimes, None only in nullable columns;
    or, if the layout is array, one array, (n, columns) float64, NaN only in nullable columns.
    timeout: seconds that the client is willing to wait; None for the server's own deadline.
    """

    values: Values
    timeout: float | None = None

    def __len__(self) -> int:
        return len(self.values)


def joined(parts: Sequence[Rows]) -> Values:
    """The rows of several requests, concatenated."""
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
        self._max_containers = _SLACK * (2 + max_rows * (1 + brackets))
        self._has_strings = any(column.dtype == "string" for column in signature.inputs)
        cells = [cell_schema(column) for column in signature.inputs]
        fields = zip(self._columns, map(_member, signature.inputs, cells), strict=True)
        self._by_name = _body_validator(core_schema.typed_dict_schema(dict(fields)), max_rows)
        self._names = frozenset(self._columns)
        self._in_order = _body_validator(core_schema.tuple_schema(cells), max_rows)

    def parse(self, body: bytes, timeout: float | None = None) -> Rows:
        """Parse one body.

        Raises InvalidJSON, or InvalidInput with the errors of the first invalid row.
        """
        return self.check(self.decode(body), timeout)

    def decode(self, body: bytes, nan: bool = False) -> Any:
        """Decode the JSON of a body.

        nan: whether NaN and Infinity are accepted, which are not JSON.
        Raises InvalidJSON, or InvalidInput if the body has far more rows than a request may have.
        """
        if self.exceeds_containers(body, self._max_containers):
            raise self._too_many_containers(body)
        return _decode_json(body, nan)

    def check(self, document: Any, timeout: float | None = None) -> Rows:
        """Validate a decoded body: `{"instances": [...]}`.

        Raises InvalidInput with the errors of the first invalid row, or MemoryError.
        """
        in_order = _first_row_is_array(document)
        self._reserve(document)
        try:
            parsed = (self._in_order if in_order else self._by_name).validate_python(document)
        except ValidationError as error:
            raise self._invalid_input(error, document) from None
        # pydantic ignores unknown members: its errors for each of them would be slow.
        if len(document) != 1:
            raise InvalidInput(
                "The body has unknown members.", unknown_members((), document, ["instances"])
            )
        rows = parsed["instances"]
        if in_order:
            return Rows(rows, timeout)
        for number, row in enumerate(document["instances"]):
            if len(row) != len(self._columns) and not self._names.issuperset(row):
                raise _invalid_row(number, self._unknown_columns(number, row))
        return Rows([list(row.values()) for row in rows], timeout)

    def _reserve(self, document: Any) -> None:
        """Raise MemoryError if there is not enough memory for the validated rows of a document."""
        instances = document.get("instances") if isinstance(document, dict) else None
        if isinstance(instances, list):
            rows = min(len(instances), self._max_rows)
            reserve(rows * (_ROW_BYTES + _CELL_BYTES * len(self._columns)))

    def exceeds_containers(self, body: bytes, limit: int) -> bool:
        """Whether a body has more arrays and objects than `limit`. It is not decoded."""
        return _count_containers(body) > limit and (
            not self._has_strings or _count_containers(_outside_strings(body)) > limit
        )

    def _too_many_containers(self, body: bytes) -> RequestError:
        """The error for a body with too many containers: not JSON, or too many items.

        orjson creates no objects before it has read everything, so a character after the end of the
        JSON makes it fail early.
        """
        try:
            orjson.loads(body + b" x")
        except orjson.JSONDecodeError as error:
            at_the_end = "after document" in error.msg and error.pos == len(error.doc) - 1
            if not at_the_end and "infinity" not in error.msg:
                return InvalidJSON.because(error)
        message = f"must have at most {self._max_rows} items, and nothing nested in them"
        return InvalidInput(
            "The body does not have the form of a request.", [FieldError("/instances", message)]
        )

    def _invalid_input(self, error: ValidationError, document: Any) -> InvalidInput:
        details = error.errors(include_url=False, include_input=False)
        errors = field_errors(details[:MAX_ERRORS], self._columns)
        location = details[0]["loc"]
        if len(location) < 2:  # noqa: PLR2004 - not inside a row
            return InvalidInput(body_hint(document), errors)
        number = int(location[1])
        row = document["instances"][number]
        if not number and not isinstance(row, dict | list):
            place = FieldError("/instances/0", "must be an object or an array")
            return InvalidInput("instances must be a list of rows.", [place])
        if isinstance(row, dict):
            errors += self._unknown_columns(number, row)
        return _invalid_row(number, errors)

    def _unknown_columns(self, number: int, row: dict[str, Any]) -> list[FieldError]:
        return unknown_members(("instances", number), row, self._columns)


def _invalid_row(number: int, errors: Sequence[FieldError]) -> InvalidInput:
    return InvalidInput(f"Row {number} does not fit the model's signature.", errors)


def _count_containers(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_strings(body: bytes) -> bytes:
    """A JSON text without the content of its strings, whose brackets are no containers."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _member(column: Column, cell: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """The member of a row; one that may be null may be left out."""
    if not column.nullable:
        return core_schema.typed_dict_field(cell)
    return core_schema.typed_dict_field(
        core_schema.with_default_schema(cell, default=None), required=False
    )


def cell_schema(column: Column) -> core_schema.CoreSchema:
    """The schema of a value of a column."""
    value = _VALUE_SCHEMAS[column.dtype](column)
    if column.allowed is not None:
        value = core_schema.chain_schema([value, core_schema.literal_schema(column.allowed)])
    return core_schema.nullable_schema(value) if column.nullable else value


def _float(column: Column) -> core_schema.CoreSchema:
    low, high = column.bounds
    return core_schema.float_schema(strict=True, allow_inf_nan=False, ge=low, le=high)


def _integer(column: Column) -> core_schema.CoreSchema:
    """The schema of an integer. As in JSON Schema, 1.0 is one; "1" and true are not."""
    low, high = map(int, column.bounds)
    number = core_schema.union_schema(
        [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True)],
        custom_error_type="int_type",
    )
    return core_schema.chain_schema([number, core_schema.int_schema(ge=low, le=high)])


def _datetime(column: Column) -> core_schema.CoreSchema:
    """The schema of a date, or a date and a time, as text; the text stays as it is."""
    form = re.compile(datetime_pattern(column))
    kind = "datetime_naive" if column.timezone is None else "datetime_aware"

    def check(text: str) -> str:
        try:
            year = datetime.fromisoformat(text).year if form.fullmatch(text) else 0
        except ValueError:
            year = 0
        if year not in YEARS:
            raise PydanticCustomError(kind, "is no date")
        return text

    return core_schema.no_info_after_validator_function(check, core_schema.str_schema(strict=True))


_VALUE_SCHEMAS: dict[str, Callable[[Column], core_schema.CoreSchema]] = {
    "float64": _float,
    "int64": _integer,
    "bool": lambda _: core_schema.bool_schema(strict=True),
    "string": lambda _: core_schema.str_schema(strict=True),
    "datetime": _datetime,
}


def _body_validator(row: core_schema.CoreSchema, max_rows: int) -> SchemaValidator:
    instances = core_schema.list_schema(row, min_length=1, max_length=max_rows, fail_fast=True)
    field = core_schema.typed_dict_field(instances)
    return SchemaValidator(core_schema.typed_dict_schema({"instances": field}))


def _decode_json(body: bytes, nan: bool) -> Any:
    try:
        return load_json(body)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg and not nan:
            raise InvalidJSON.because(error) from None
    # 1e400 is JSON but exceeds float64: as for 1e39, the error names its place in the body.
    try:
        return from_json(body, allow_inf_nan=nan)
    except ValueError as error:
        raise InvalidJSON.because(error) from None


def _first_row_is_array(document: object) -> bool:
    instances = document.get("instances") if isinstance(document, dict) else None
    return isinstance(instances, list) and bool(instances) and isinstance(instances[0], list)
