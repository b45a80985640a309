"""The response to `/invocations`, in the form that the client accepts.

JSON and JSON Lines have the predictions of `/predict`. CSV and NPY have a row for each prediction
with what the estimator's `predict` returns, as SageMaker's scikit-learn container sends it: the
label alone, or the number.
"""

import csv
from io import StringIO
from typing import Any

import orjson

from ...inference.model import Model
from ...schema.predictions import Outputs
from ...schema.request_parser import Rows
from ...schema.signature import Signature
from .media_types import CSV, JSON, JSON_LINES
from .npy import write_npy


async def predict_as(form: str, rows: Rows, model: Model) -> bytes:
    """Predict, and return the body of the response. Raises the errors of `model.outputs`.

    form: a media type of `media_types.MEDIA_TYPES`.
    """
    if form in {JSON, JSON_LINES}:
        predictions = (await model.predict(rows)).predictions
        if form == JSON:
            return orjson.dumps({"predictions": predictions}, option=orjson.OPT_APPEND_NEWLINE)
        return b"".join(
            orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in predictions
        )
    values = predicted(await model.outputs(rows), model.manifest.signature)
    return write_csv(values) if form == CSV else write_npy(values)


def predicted(outputs: Outputs, signature: Signature) -> list[Any]:
    """Return what the estimator's `predict` returns: a value for each row, or a list of values."""
    values: list[Any] = outputs.values.tolist()
    match signature.task:
        case "classification":
            classes = signature.classes or []
            return [classes[index] for index in values]
        case "multilabel":
            return [[int(has) for has in row] for row in values]
        case "multi-output-classification":
            of_outputs = signature.output_classes or []
            return [
                [classes[index] for classes, index in zip(of_outputs, row, strict=True)]
                for row in values
            ]
        case "outlier-detection":
            return [-1 if outlier else 1 for outlier in values]
    return values


def write_csv(values: list[Any]) -> bytes:
    """Return one line for each value; a list is its fields."""
    text = StringIO()
    rows = (value if isinstance(value, list) else [value] for value in values)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
