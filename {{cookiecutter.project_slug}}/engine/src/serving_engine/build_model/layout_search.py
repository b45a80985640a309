"""Finds the simplest layout in which a served estimator gives the predictions of the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..distribution import add_command
from ..model_files.manifest import Tolerance
from ..runtimes.scikit_learn.estimator import ServedEstimator, fitted_on_array, takes_records
from ..runtimes.scikit_learn.loading import wrap_estimator
from ..schema.predictions import (
    Prediction,
    PredictionFormatter,
    describe_difference,
    predictions_agree,
)
from ..schema.signature import Cell, CellRows, Column, Layout, Signature
from ..text import reason
from .accepted_values import AcceptedValues, accepted_columns
from .examples import Examples, to_frame
from .infer_signature import infer_signature
from .probes import MAX_ROWS
from .read_estimator import NotPackaged
from .reference_model import NeedsFrame, ReferenceModel

GOLDEN_EXAMPLES = 8


@dataclass(frozen=True)
class Candidate:
    """A model as it will be served, with the examples.

    rows: all examples, in signature order. reference_predictions: those of the reference model for
    some of the examples, by their number.
    """

    predict: ServedEstimator
    signature: Signature
    rows: CellRows
    reference_predictions: dict[int, Prediction]


def find_layout(
    estimator: Any,
    parse: Callable[[], Any],
    examples: Examples,
    columns: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Candidate:
    """The candidate with the simplest layout that gives the predictions of the reference model.

    parse: returns the estimator of the artifact, which serving modifies.
    Raises NotPackaged if there is none; the error is that of the simplest layout that may fit.
    """
    first_error: NotPackaged | None = None
    for layout in _layouts(estimator, columns):
        try:
            reference, rows = _reference(estimator, layout, examples, columns)
            signature = infer_signature(reference, layout, columns, outputs)
            return _served(reference, parse(), signature, rows)
        except NotPackaged as error:
            if first_error is None or isinstance(first_error, NeedsFrame):
                first_error = error
    raise first_error or NotPackaged("the model has no columns.")


def _served(
    reference: ReferenceModel, estimator: Any, inferred: Signature, rows: CellRows
) -> Candidate:
    """The candidate of a layout. Raises NotPackaged if its predictions differ."""
    all_nullable = [column.model_copy(update={"nullable": True}) for column in inferred.inputs]
    permissive = wrap_estimator(estimator, inferred.model_copy(update={"inputs": all_nullable}))
    accepted = accepted_columns(
        inferred.inputs,
        rows,
        AcceptedValues(permissive, rows[reference.complete_example]),
        estimator,
    )
    signature = Signature.model_validate(inferred.model_dump() | {"inputs": accepted})
    served = wrap_estimator(estimator, signature)
    formatter = PredictionFormatter(signature)
    tolerance = Tolerance()
    reference_predictions = {}
    for number in {*spread(len(rows), MAX_ROWS), *spread(len(rows), GOLDEN_EXAMPLES)}:
        expected = reference.predict(number, signature)
        try:
            (prediction,) = formatter(served([rows[number]]))
        except Exception as error:  # any exception of the model
            raise NotPackaged(
                f"the served model fails on example row {number}, and the estimator does not "
                f"({reason(error)}). The file of examples may have lost types that the model was "
                "fitted on: write it as Parquet or as a pickled DataFrame."
            ) from error
        if not predictions_agree(expected, prediction, tolerance.relative, tolerance.absolute):
            raise NotPackaged(
                f"prediction mismatch on example row {number} between the served model and the "
                f"estimator: {describe_difference(expected, prediction)}."
            )
        reference_predictions[number] = expected
    return Candidate(served, signature, rows, reference_predictions)


def _layouts(estimator: Any, columns: Sequence[Column]) -> list[Layout]:
    """The possible layouts, the simplest first."""
    dtypes = {column.dtype for column in columns}
    if takes_records(estimator):
        return ["frame"]
    if dtypes == {"string"} and len(columns) == 1 and not hasattr(estimator, "feature_names_in_"):
        return ["text", "frame"]
    return ["array", "frame"] if dtypes <= {"float64", "int64", "bool"} else ["frame"]


def _reference(
    estimator: Any, layout: Layout, examples: Examples, columns: Sequence[Column]
) -> tuple[ReferenceModel, CellRows]:
    """The reference model, and the examples as rows in signature order."""
    rows = [
        [convert_cell(row[column.name], column, layout) for column in columns]
        for row in examples.rows
    ]
    names = [column.name for column in columns]
    complete = next((number for number, row in enumerate(rows) if None not in row), 0)
    if layout == "text":
        return ReferenceModel(estimator, [row[0] for row in rows], complete, names), rows
    if takes_records(estimator):
        records = [dict(zip(names, row, strict=True)) for row in rows]
        return ReferenceModel(estimator, records, complete, names), rows
    frame = None
    if layout == "frame" or hasattr(estimator, "feature_names_in_"):
        frame = to_frame(examples, names)
    if frame is None and layout == "frame":
        raise NotPackaged(
            "columns of mixed types, and models that pick columns by name, need pandas, which is "
            f"not installed. Add it: {add_command('pandas')}"
        )
    fitted: Any = np.array(rows, dtype=np.float64) if frame is None else frame
    if frame is not None and fitted_on_array(estimator):
        fitted = frame.to_numpy(dtype=object)
    return ReferenceModel(estimator, fitted, complete, names), rows


def convert_cell(cell: Cell, column: Column, layout: Layout) -> Cell:
    """The cell as a float if its column holds floats."""
    number = (
        column.dtype in {"float64", "int64"} if layout == "array" else column.dtype == "float64"
    )
    return float(cell) if number and isinstance(cell, int | bool) else cell


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` row numbers, evenly spread over `count` rows, which may be sorted."""
    size = min(limit, count)
    return [number * count // size for number in range(size)]
