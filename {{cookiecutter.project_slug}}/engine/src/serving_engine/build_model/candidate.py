"""A model as it will be served, verified with the examples and the predictions of a reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..model_files.manifest import Tolerance
from ..runtimes.base import Predict, Predictor
from ..schema.predictions import (
    Outputs,
    Prediction,
    PredictionFormatter,
    describe_difference,
    predictions_agree,
)
from ..schema.signature import Cell, CellRows, Column, Layout, Signature
from ..text import reason
from .accepted_values import AcceptedValues, accepted_columns
from .errors import NotPackaged
from .probes import MAX_ROWS

GOLDEN_EXAMPLES = 8
SINGLE_TOLERANCE = Tolerance(relative=1e-4, absolute=1e-5)
"""The largest accepted difference of a number that is computed with float32, of 7 digits."""


@dataclass(frozen=True)
class Candidate:
    """A model as it will be served, with the examples.

    rows: all examples, in signature order. reference_predictions: those of the reference model for
    some of the examples, by their number.
    """

    predict: Predictor
    signature: Signature
    rows: CellRows
    reference_predictions: dict[int, Prediction]
    tolerance: Tolerance = field(default_factory=Tolerance)


class Reference(Protocol):
    """The model as its owner calls it, with the examples."""

    complete_example: int
    """The number of an example without null."""

    def predict(self, number: int, signature: Signature) -> Prediction:
        """The prediction for one example. Raises NotPackaged."""


def example_prediction(outputs: Outputs, number: int, signature: Signature) -> Prediction:
    """The prediction for one example, of outputs for it alone.

    number: of the example. Raises NotPackaged if a number is not finite.
    """
    if not outputs.finite:
        raise NotPackaged(f"the model's output for example row {number} is no finite number.")
    (prediction,) = PredictionFormatter(signature)(outputs)
    return prediction


def verified_candidate(
    reference: Reference,
    serve: Callable[[Signature], Predictor],
    inferred: Signature,
    rows: CellRows,
    known: Sequence[Sequence[Any]] = (),
    *,
    ask: Callable[[Signature], Predict] | None = None,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 - it never changes
) -> Candidate:
    """The candidate with the signature that the model has when it is asked.

    serve: returns the model as it is served with a signature. inferred: the signature by the
    examples. known: the categories of each encoder of the model. ask: returns what decides which
    values the model accepts, by default the served model.
    Raises NotPackaged if its predictions differ from those of the reference.
    """
    all_nullable = [column.model_copy(update={"nullable": True}) for column in inferred.inputs]
    permissive = (ask or serve)(inferred.model_copy(update={"inputs": all_nullable}))
    accepted = accepted_columns(
        inferred.inputs,
        rows,
        AcceptedValues(permissive, rows[reference.complete_example]),
        known,
    )
    signature = Signature.model_validate(inferred.model_dump() | {"inputs": accepted})
    served = serve(signature)
    formatter = PredictionFormatter(signature)
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
    return Candidate(served, signature, rows, reference_predictions, tolerance)


def convert_cell(cell: Cell, column: Column, layout: Layout) -> Cell:
    """The cell as a float if its column holds floats."""
    number = (
        column.dtype in {"float64", "int64"} if layout == "array" else column.dtype == "float64"
    )
    return float(cell) if number and isinstance(cell, int | bool) else cell


def convert_rows(
    rows: Sequence[dict[str, Any]], columns: Sequence[Column], layout: Layout
) -> CellRows:
    """Rows in signature order."""
    return [[convert_cell(row[column.name], column, layout) for column in columns] for row in rows]


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` row numbers, evenly spread over `count` rows, which may be sorted."""
    size = min(limit, count)
    return [number * count // size for number in range(size)]
