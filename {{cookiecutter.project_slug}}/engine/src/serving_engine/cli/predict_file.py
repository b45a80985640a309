"""Predicts the rows of a file, without a server."""

from collections.abc import Iterator
from pathlib import Path

import orjson

from ..build_model.row_files import read_rows
from ..errors import NonFiniteOutput, RequestError, UsageError
from ..runtimes.base import LoadedModel
from ..schema.predictions import Prediction, PredictionFormatter
from ..schema.request_parser import RequestParser


def predict_file(path: Path, model: LoadedModel, batch_rows: int) -> Iterator[Prediction]:
    """One prediction for each row of a file, in order.

    batch_rows: rows of one call of the model. The rows are validated as those of a request are.
    Raises UsageError if the file cannot be read, or at the first batch with an invalid row or an
    output that is not finite; it names the first row of the batch, counted from 0, and the errors.
    """
    rows = read_rows(path, model.manifest.signature.inputs)
    parser = RequestParser(model.manifest.signature, max_rows=batch_rows)
    formatter = PredictionFormatter(model.manifest.signature)
    for start in range(0, len(rows), batch_rows):
        try:
            batch = parser.parse(orjson.dumps({"instances": rows[start : start + batch_rows]}))
            outputs = model.predict(batch.values)
            if not outputs.finite:
                raise NonFiniteOutput("the model's output is not a finite number")
        except RequestError as error:
            errors = "; ".join(f"{item.pointer} {item.message}" for item in error.errors)
            raise UsageError(
                f"{path}, rows from {start}: {error.detail} {errors}".rstrip()
            ) from None
        yield from formatter(outputs)
