"""MLflow's forms of rows: four in JSON, and CSV; each becomes `{"instances": [...]}`.

Source: `mlflow.pyfunc.scoring_server` of MLflow 3. Columns are matched by name wherever there are
names; unlike there, names that the model does not know are refused.
"""

import csv
import math
from collections.abc import Sequence
from io import StringIO
from typing import Any

from ..errors import InvalidInput
from .signature import Column, Signature

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BOOLEANS = {"true": True, "false": False}

Document = dict[str, list[Any]]


def from_json(document: Any, signature: Signature) -> Document:
    """The rows of a JSON body, which holds exactly one of `FORMS`.

    Raises InvalidInput; whether the rows fit the signature is not checked here.
    """
    given = [form for form in FORMS if form in document] if isinstance(document, dict) else []
    if len(given) != 1:
        raise InvalidInput(f"The body must be an object with exactly one of {', '.join(FORMS)}.")
    if document.get("params") not in (None, {}):
        raise InvalidInput("The model takes no params.")
    if not document.keys() <= {*FORMS, "params"}:
        raise InvalidInput("The body has unknown members.")
    (form,) = given
    data = document[form]
    if form == "dataframe_split":
        data = _split(data, signature.columns)
    elif isinstance(data, dict):
        data = _by_column(data, form)
    if not isinstance(data, list):
        raise InvalidInput(f"{form} must be an array of rows.")
    if len(signature.columns) == 1:  # an array of values is a tensor of one column
        data = [row if isinstance(row, list | dict) else [row] for row in data]
    return {"instances": data}


def from_csv(text: str, signature: Signature) -> Document:
    """The rows of a CSV body, with a header or, where all columns are numbers, without one.

    Raises InvalidInput; whether the rows fit the signature is not checked here.
    """
    try:
        lines = [line for line in csv.reader(StringIO(text, newline=""), strict=True) if line]
    except csv.Error:
        raise InvalidInput("The body is not CSV.") from None
    columns = {column.name: column for column in signature.inputs}
    numbers = all(column.dtype in {"float64", "int64"} for column in signature.inputs)
    names = signature.columns
    if lines and not (numbers and all(map(_is_number, lines[0]))):
        names, lines = lines[0], lines[1:]
    _check_names(names, signature.columns)
    return {
        "instances": _named(
            [_cells(line, names, columns) for line in lines], names, signature.columns
        )
    }


def without_nan(document: Document) -> Document:
    """pandas writes NaN, which JSON does not have, for a missing value."""
    return {"instances": [_no_nan(row) for row in document["instances"]]}


def _no_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_no_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: _no_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _split(data: Any, columns: list[str]) -> list[Any]:
    """pandas' orient="split": the names once, then the rows."""
    rows = data.get("data") if isinstance(data, dict) else None
    names = data.get("columns", columns) if isinstance(data, dict) else None
    if not isinstance(rows, list) or not isinstance(names, list):
        raise InvalidInput("dataframe_split must have columns and data, both arrays.")
    _check_names(names, columns)
    return _named(rows, names, columns)


def _check_names(names: Sequence[Any], columns: list[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing or len(names) != len(columns):
        text = f"{missing[0]} is missing" if missing else "there are others"
        raise InvalidInput(f"The columns must be those of the model: {text}.")


def _named(rows: list[Any], names: Sequence[str], columns: list[str]) -> list[Any]:
    """Rows in the order of `names`, in signature order."""
    if list(names) == columns:
        return rows
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise InvalidInput("Every row must have a value for each column.")
    places = [names.index(column) for column in columns]
    return [[row[place] for place in places] for row in rows]


def _by_column(data: dict[str, Any], form: str) -> list[Any]:
    """`{"column": [values]}`."""
    values = list(data.values())
    if form != "inputs" or not all(isinstance(column, list) for column in values):
        raise InvalidInput(f"{form} must be an array of rows, or inputs an array for each column.")
    if len(set(map(len, values))) > 1:
        raise InvalidInput("The columns of inputs must be of one length.")
    rows = zip(*map(_flat, values), strict=True)
    return [dict(zip(data, row, strict=True)) for row in rows]


def _flat(column: list[Any]) -> list[Any]:
    """A column of shape (n, 1) as one of shape (n,)."""
    return [v[0] if isinstance(v, list) and len(v) == 1 else v for v in column]


def _cells(line: list[str], names: Sequence[str], columns: dict[str, Column]) -> list[Any]:
    if len(line) != len(names):
        raise InvalidInput("Every line must have a value for each column.")
    return [_cell(text, columns[name]) for text, name in zip(line, names, strict=True)]


def _cell(text: str, column: Column) -> Any:
    """What the text says, or the text itself where it says nothing of the column's type."""
    if column.dtype == "string":
        return None if text == "" and column.nullable else text
    if text == "":
        return None
    if column.dtype == "bool":
        return _BOOLEANS.get(text.lower(), text)
    try:
        number = int(text) if column.dtype == "int64" else float(text)
    except ValueError:
        return text
    return None if number != number else number  # noqa: PLR0124 - NaN, as pandas writes it


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
