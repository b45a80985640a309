"""Predicts the rows of a file, without a server."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson

from ..build_model.examples import read_examples
from ..build_model.pickles import PICKLES
from ..build_model.row_files import Row, read_rows
from ..errors import FieldError, RequestError, UsageError
from ..runtimes.base import LoadedModel
from ..schema.predictions import Prediction, PredictionFormatter
from ..schema.request_parser import RequestParser
from ..text import one_line, reason, shown


def predict_file(
    path: Path, model: LoadedModel, batch_rows: int, note: Callable[[str], None]
) -> Iterator[Prediction]:
    """One prediction for each row of a file, in order.

    batch_rows: rows of one call of the model. note: called with a line about columns that the model
    does not take, which are ignored. The rows are validated as those of a request are.
    Raises UsageError if the file cannot be read, or at the first batch with an invalid row, with a
    row on which the model fails, or with an output that is not finite. It names the row, counted
    from 0, and the columns with their values.
    """
    columns = model.manifest.signature.columns
    if path.suffix.lower() in PICKLES:
        rows = read_examples(path).rows
    else:
        rows = read_rows(path, model.manifest.signature.inputs)
    ignored = [str(name) for name in rows[0] if name not in columns]
    if ignored:
        note(f"ignored columns: {', '.join(ignored)}")
        rows = [{name: row[name] for name in columns if name in row} for row in rows]
    parser = RequestParser(model.manifest.signature, max_rows=batch_rows)
    formatter = PredictionFormatter(model.manifest.signature)
    for start in range(0, len(rows), batch_rows):
        part = rows[start : start + batch_rows]
        try:
            batch = parser.parse(orjson.dumps({"instances": part}))
        except RequestError as error:
            places = [_place(part, start, item) for item in error.errors]
            text = "; ".join(places) or f"rows from {start}: {error.detail}"
            raise UsageError(f"{path}, {text}. `model show` has the columns.") from None
        except orjson.JSONEncodeError as error:  # a value of Parquet may be bytes
            raise UsageError(f"{path}, rows from {start}: a value has no JSON ({error}).") from None
        try:
            outputs = model.predict(batch.values)
        except Exception as error:  # any exception of the model
            raise UsageError(
                f"{path}, rows from {start}: the model fails ({reason(error)}). Predict the rows "
                "one by one to find the one that it rejects."
            ) from error
        if not outputs.finite:
            raise UsageError(
                f"{path}, rows from {start}: the model's output is not a finite number. Its input "
                "may be far from what the model was fitted on."
            )
        yield from formatter(outputs)


def _place(rows: Sequence[Row], start: int, error: FieldError) -> str:
    """The row and the column of an error, with the value as it was read.

    rows: of one batch. start: the number of its first row.
    """
    _, _, number, *names = error.pointer.split("/")
    row = rows[int(number)]
    column = "/".join(names).replace("~1", "/").replace("~0", "~")
    value = f" ({shown(row[column])})" if column in row else ""
    return f"row {start + int(number)}: column {one_line(column)}{value} {error.message}"
