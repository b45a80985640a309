"""Records how the example rows and their predictions are distributed, for `model drift`."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..model_files.manifest import Probes
from ..model_files.observed import Distribution, Observed, interval_counts, prediction_values
from ..schema.predictions import Prediction, PredictionFormatter
from ..schema.signature import Column, class_name
from ..text import is_missing
from .candidate import Candidate, spread

INTERVALS = 10
DIGITS = 6
MAX_COLUMNS = 1000
"""Of more columns the manifest, which is read at once, would become too large."""
MAX_PREDICTIONS = 2000
SECONDS = 2.0
BATCH = 50


def observe(served: Candidate, probes: Probes) -> Observed | None:
    """What is observed in all examples; None if the model has more than `MAX_COLUMNS` columns."""
    signature = served.signature
    if len(signature.inputs) > MAX_COLUMNS:
        return None
    columns = {}
    for number, column in enumerate(signature.inputs):
        found = _of_column(column, [row[number] for row in served.rows])
        if found is not None:
            columns[column.name] = found
    values = [prediction_values(one, signature) for one in _predictions(served, probes)]
    predictions = {
        name: _of_values([value[name] for value in values], nulls=0.0) for name in values[0]
    }
    return Observed(rows=len(served.rows), columns=columns, predictions=predictions)


def _predictions(served: Candidate, probes: Probes) -> list[Prediction]:
    """Predictions for some of the examples: as many as a slow model makes in a short time."""
    known = list(served.reference_predictions.values())
    if not probes.row_independent:
        return known
    rows = [served.rows[number] for number in spread(len(served.rows), MAX_PREDICTIONS)]
    formatter = PredictionFormatter(served.signature)
    predictions: list[Prediction] = []
    deadline = time.monotonic() + SECONDS
    try:
        for start in range(0, len(rows), BATCH):
            outputs = served.predict(rows[start : start + BATCH])
            predictions += formatter(outputs) if outputs.finite else []
            if time.monotonic() > deadline:
                break
    except Exception:  # of the model, for an example that the reference was not asked about
        return known
    return predictions if len(predictions) > len(known) else known


def _of_column(column: Column, cells: Sequence[Any]) -> Distribution | None:
    values = [cell for cell in cells if not is_missing(cell)]
    nulls = 1 - len(values) / len(cells)
    closed = column.dtype == "string" and column.categories is not None
    if not values or not (closed or column.dtype in {"float64", "int64", "bool"}):
        return None
    if column.dtype == "bool":
        values = [class_name(bool(value)) for value in values]
    return _of_values(values, nulls)


def _of_values(values: Sequence[Any], nulls: float) -> Distribution:
    if isinstance(values[0], str):
        counts = Counter(values)
        categories = sorted(counts)
        shares = [counts[name] for name in categories]
        return Distribution(
            nulls=_rounded(nulls), categories=categories, shares=_shares(shares, len(values))
        )
    numbers = np.asarray(values, dtype=float)
    quantiles = np.quantile(numbers, np.linspace(0, 1, INTERVALS + 1)[1:-1], method="lower")
    edges = sorted({_rounded(edge) for edge in quantiles.tolist()})
    edges = [edge for edge in edges if edge < numbers.max()]
    counted = interval_counts(edges, values)
    return Distribution(nulls=_rounded(nulls), edges=edges, shares=_shares(counted, len(values)))


def _shares(counts: Sequence[int], rows: int) -> list[float]:
    return [_rounded(count / rows) for count in counts]


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
