"""Input formats, converted to `{"instances": [...]}`: MLflow's four in JSON, CSV, and JSON Lines.

Source: `mlflow.pyfunc.scoring_server` of MLflow 3. Columns are matched by name wherever there are
names; unlike in MLflow, unknown names are rejected.
"""

import csv
import math
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

from ...errors import InvalidInput, InvalidJSON
from ...schema.signature import Column, Signature
from ...schema.text_cells import parse_cell, parse_number, read_table

FEATURES = "features"
"""The member of a line in JSON Lines that has the row, in SageMaker's own algorithms."""

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")

Document = dict[str, list[Any]]


def from_json(document: Any, signature: Signature) -> Document:
    """Convert a JSON body, which has exactly one of the members `FORMS`.

    Raises InvalidInput; the rows are not checked against the signature.
    """
    forms = [form for form in FORMS if form in document] if isinstance(document, dict) else []
    if len(forms) != 1:
        raise InvalidInput(f"The body must be an object with exactly one of {', '.join(FORMS)}.")
    if document.get("params") not in (None, {}):
        raise InvalidInput("The model has no params.")
    if not document.keys() <= {*FORMS, "params"}:
        raise InvalidInput("The body has unknown members.")
    (form,) = forms
    data = document[form]
    if form == "dataframe_split":
        data = _split(data, signature.columns)
    elif isinstance(data, dict):
        data = _by_column(data, form)
    if not isinstance(data, list):
        raise InvalidInput(f"{form} must be an array of rows.")
    return {"instances": _with_lists(data, signature)}


def from_json_lines(
    body: bytes, decode: Callable[[bytes], Any], signature: Signature, max_rows: int
) -> Document:
    """Convert a body of JSON Lines: a row on each, as an array, an object or `{"features": []}`.

    decode: decodes one line; raises InvalidJSON. Raises that, or InvalidInput; the rows are not
    checked against the signature.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > max_rows:
        raise InvalidInput(f"The request has more than {max_rows} rows.")
    rows: list[Any] = []
    for number, line in enumerate(lines, 1):
        try:
            row = decode(line)
        except InvalidJSON as error:
            raise InvalidJSON(f"Line {number} of the body: {error.detail}") from None
        if isinstance(row, dict) and row.keys() == {FEATURES} != {*signature.columns}:
            row = row[FEATURES]
        rows.append(row)
    return {"instances": _with_lists(rows, signature)}


def _with_lists(rows: list[Any], signature: Signature) -> list[Any]:
    """Make each value a row where the model has one column."""
    if len(signature.columns) != 1:
        return rows
    return [row if isinstance(row, list | dict) else [row] for row in rows]


def from_csv(text: str, signature: Signature, header: bool | None = None) -> Document:
    """Convert a CSV body, with a header or, if all columns are numbers, without one.

    header: whether the first line has the names of the columns; None if the request does not say.
    Raises InvalidInput; the rows are not checked against the signature.
    """
    try:
        lines = list(read_table(StringIO(text, newline=""))[1])
    except csv.Error:
        raise InvalidInput("The body is not CSV.") from None
    columns = {column.name: column for column in signature.inputs}
    numbers = all(column.dtype in {"float64", "int64", "bool"} for column in signature.inputs)
    names = signature.columns
    if header is None and lines:
        header = not (numbers and all(parse_number(text) is not None for text in lines[0]))
    if header and lines:
        names = lines[0]
        lines = lines[1:]
        if not columns.keys() & set(names):
            raise InvalidInput(
                "The first line must be a header with the columns of the model: "
                f"{', '.join(signature.columns[:20])}."
            )
    _check_names(names, signature.columns)
    rows = [_cells(line, names, columns) for line in lines]
    return {"instances": _reordered(rows, names, signature.columns)}


def without_nan(document: Document) -> Document:
    """Replace NaN by null: pandas writes NaN, which is not JSON, for a missing value."""
    return {"instances": [_no_nan(row) for row in document["instances"]]}


def _no_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_no_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: _no_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _split(data: Any, columns: list[str]) -> list[Any]:
    """Convert pandas' orient="split": the names once, then the rows."""
    rows = data.get("data") if isinstance(data, dict) else None
    names = data.get("columns", columns) if isinstance(data, dict) else None
    if not isinstance(rows, list) or not isinstance(names, list):
        raise InvalidInput("dataframe_split must have columns and data, both arrays.")
    if not isinstance(data.get("index", []), list):
        raise InvalidInput("The index of dataframe_split must be an array.")
    _check_names(names, columns)
    return _reordered(rows, names, columns)


def _check_names(names: Sequence[Any], columns: list[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing or len(names) != len(columns):
        problem = f"{missing[0]} is missing" if missing else "there are unknown ones"
        raise InvalidInput(f"The columns must be those of the model: {problem}.")


def _reordered(rows: list[Any], names: Sequence[str], columns: list[str]) -> list[Any]:
    """Reorder the cells of rows from the order of `names` to that of the signature."""
    if list(names) == columns:
        return rows
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise InvalidInput("Every row must have a value for each column.")
    indices = [names.index(column) for column in columns]
    return [[row[index] for index in indices] for row in rows]


def _by_column(data: dict[str, Any], form: str) -> list[Any]:
    """Convert `{"column": [values]}`."""
    values = list(data.values())
    if form != "inputs" or not all(isinstance(column, list) for column in values):
        raise InvalidInput(
            f"{form} must be an array of rows, or inputs an object with an array for each column."
        )
    if len(set(map(len, values))) > 1:
        raise InvalidInput("The columns of inputs must have the same length.")
    rows = zip(*map(_flat, values), strict=True)
    return [dict(zip(data, row, strict=True)) for row in rows]


def _flat(column: list[Any]) -> list[Any]:
    """Convert a column of shape (n, 1) to shape (n,)."""
    return [v[0] if isinstance(v, list) and len(v) == 1 else v for v in column]


def _cells(line: list[str], names: Sequence[str], columns: dict[str, Column]) -> list[Any]:
    if len(line) != len(names):
        raise InvalidInput("Every line must have a value for each column.")
    return [parse_cell(text, columns[name]) for text, name in zip(line, names, strict=True)]
