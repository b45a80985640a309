"""Infers a signature from an estimator and example rows."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UsageError
from ..schema.files import Row
from ..schema.signature import Column, Signature


def infer_signature(estimator: Any, rows: Sequence[Row]) -> Signature:
    """The signature of a classifier or regressor over numeric columns.

    Columns are named and ordered by `feature_names_in_` where the estimator has it, else by the
    first row. Ranges are those of the rows.
    Raises UsageError if a row lacks a column, holds something else than finite numbers, or the
    number of columns is not the estimator's.
    """
    names = [str(name) for name in getattr(estimator, "feature_names_in_", rows[0])]
    width = getattr(estimator, "n_features_in_", len(names))
    if width != len(names):
        raise UsageError(f"the model takes {width} columns and the examples have {len(names)}.")
    columns = [_column(name, rows) for name in names]
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return Signature(
            layout="array",
            inputs=columns,
            task="classification",
            classes=np.asarray(classes).tolist(),
            probabilities=hasattr(estimator, "predict_proba"),
        )
    values = np.asarray(estimator.predict([[row[name] for name in names] for row in rows[:1]]))
    outputs = [f"output_{n}" for n in range(values.shape[1])] if values.ndim > 1 else None
    return Signature(layout="array", inputs=columns, task="regression", outputs=outputs)


def _column(name: str, rows: Sequence[Row]) -> Column:
    values = []
    for number, row in enumerate(rows):
        value = row.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise UsageError(f"example row {number}: column {name} must be a finite number.")
        values.append(float(value))
    return Column(name=name, minimum=min(values), maximum=max(values))
