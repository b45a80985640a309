"""Predicts the rows of a block, and sets those apart that get no prediction."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...errors import FieldError, RequestError
from ...runtimes.base import LoadedModel
from ...schema.cell_columns import ColumnsCheck
from ...schema.number_check import NumberCheck
from ...schema.predictions import Outputs
from ...schema.request_parser import RequestParser, Values
from ...text import one_line, reason, shown
from .blocks import Block, Unreadable
from .results import ResultFormat

CALL_ROWS = 8192
"""Most rows of one call of the model: some more than most blocks have."""
_ANY_NUMBER = 2**31


@dataclass
class BadRow:
    """A row without a prediction.

    number: of the row, counted from 0. reason: ends a sentence that begins with the row's place.
    row: what was read of it, as JSON.
    """

    number: int
    reason: str
    row: str


@dataclass
class Scored:
    """The result of a block of rows: their predictions, in the format of the result; a bad row has
    an empty one."""

    rows: int
    data: bytes
    bad: list[BadRow] = field(default_factory=list)


class Scorer:
    """Predicts blocks of rows with one model."""

    def __init__(self, model: LoadedModel, result: ResultFormat) -> None:
        signature = model.manifest.signature
        self._model = model
        self._format = result
        self._inputs = signature.inputs
        self._columns = signature.columns
        self._parser = RequestParser(signature, max_rows=_ANY_NUMBER)
        check = NumberCheck(signature)
        self._check = check if signature.layout == "array" and check.complete else None
        self._check_columns = ColumnsCheck(signature)

    def __call__(self, block: Block) -> Scored:
        """Predict the rows of a block."""
        bad: list[BadRow] = []
        values = self._read_together(block)
        numbers: Sequence[int]
        if values is None:
            values, numbers = self._read_one_by_one(block, bad)
        else:
            numbers = range(len(values))
        rows = len(values) + len(bad)
        parts: list[Outputs] = []
        good: list[int] = []
        for start in range(0, len(values), CALL_ROWS):
            call = slice(start, start + CALL_ROWS)
            self._predict(values[call], numbers[call], parts, good, bad)
        outputs = Outputs.joined(parts) if parts else None
        data = self._format.rows(outputs, good, rows)
        return Scored(rows, data, sorted(bad, key=lambda each: each.number))

    def _read_together(self, block: Block) -> Values | None:
        """The values of all rows; None if one does not fit the signature."""
        try:
            if self._check is not None:
                matrix = block.matrix(self._inputs)
                return matrix if self._check.fits(matrix).all() else None
            with suppress(Exception):
                rows_by_column = block.by_column(self._inputs)
                self._check_columns(rows_by_column)
                return rows_by_column
            columns = [block.cells(column) for column in self._inputs]
            rows = list(map(list, zip(*columns, strict=True)))
            return self._parser.check({"instances": rows}).values
        except Exception:  # of any reader: what is wrong is said row by row
            return None

    def _read_one_by_one(self, block: Block, bad: list[BadRow]) -> tuple[Values, list[int]]:
        """The values of the rows that fit the signature, and their numbers."""
        values: list[Any] = []
        numbers: list[int] = []
        for number, row in enumerate(block.rows()):
            if isinstance(row, Unreadable):
                bad.append(BadRow(number, row.reason, _to_json(row.content)))
                continue
            known = {name: row[name] for name in self._columns if name in row}
            try:
                values.extend(self._parser.check({"instances": [known]}).values)
            except RequestError as error:
                reasons = "; ".join(_column_error(known, each) for each in error.errors)
                bad.append(BadRow(number, reasons or error.detail, _to_json(row)))
            else:
                numbers.append(number)
        return values, numbers

    def _predict(
        self,
        values: Values,
        numbers: Sequence[int],
        parts: list[Outputs],
        good: list[int],
        bad: list[BadRow],
    ) -> None:
        """Add the outputs of rows to `parts` and their numbers to `good`, or the rows to `bad`.

        If the model fails, each half of the rows is predicted again, to find the rows that it
        rejects; unless the prediction for a row depends on the others.
        """
        try:
            outputs = self._model.predict(values)
            why = None if outputs.finite else "the model's output is not a finite number"
        except Exception as error:  # any exception of the model
            why = f"the model fails ({reason(error)})"
        if why is None:
            parts.append(outputs)
            good.extend(numbers)
        elif len(values) == 1 or not self._model.manifest.probes.row_independent:
            for number, row in zip(numbers, values, strict=True):
                cells = row if isinstance(row, Sequence) else row.tolist()
                text = _to_json(dict(zip(self._columns, cells, strict=True)))
                bad.append(BadRow(number, why, text))
        else:
            middle = len(values) // 2
            self._predict(values[:middle], numbers[:middle], parts, good, bad)
            self._predict(values[middle:], numbers[middle:], parts, good, bad)


def _column_error(row: dict[str, Any], error: FieldError) -> str:
    """What is wrong with a column, with the value as it was read."""
    column = "/".join(error.pointer.split("/")[3:]).replace("~1", "/").replace("~0", "~")
    value = f" ({shown(row[column])})" if column in row else ""
    return f"column {one_line(column)}{value} {error.message}"


def _to_json(row: object) -> str:
    return json.dumps(row, default=str)
