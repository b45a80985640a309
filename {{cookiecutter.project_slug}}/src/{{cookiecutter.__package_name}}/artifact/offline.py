"""Predictions of a file's rows, without a server."""

from collections.abc import Iterator
from pathlib import Path

import orjson

from ..errors import NonFiniteOutput, RequestError, UsageError
from ..schema.answers import Answers, Prediction
from ..schema.files import read_rows
from ..schema.requests import RequestParser
from .load import LoadedModel


def predict_file(path: Path, model: LoadedModel, batch_rows: int) -> Iterator[Prediction]:
    """One prediction for each row of a file, in order.

    The rows are checked exactly as those of a request are. Raises UsageError at the first batch
    that does not fit, naming the row (counted from 0) and what is wrong with it.
    """
    rows = read_rows(path, model.manifest.signature.inputs)
    parser = RequestParser(model.manifest.signature, max_rows=batch_rows)
    answers = Answers(model.manifest.signature)
    for start in range(0, len(rows), batch_rows):
        try:
            batch = parser.parse(orjson.dumps({"instances": rows[start : start + batch_rows]}))
            outputs = model.predict(batch.values)
            if not outputs.finite:
                raise NonFiniteOutput("the model's answer is not a finite number")
        except RequestError as error:
            errors = "; ".join(f"{item.pointer} {item.message}" for item in error.errors)
            raise UsageError(
                f"{path}, rows from {start}: {error.detail} {errors}".rstrip()
            ) from None
        yield from answers(outputs)
