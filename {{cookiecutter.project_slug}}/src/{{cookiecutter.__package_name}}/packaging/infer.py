"""Infers a signature from an estimator and example rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..schema.files import Row
from ..schema.signature import FLOAT32_MAX, Column, Signature
from .answers import ask
from .estimator import NotPackaged

_SEVERAL = "the model predicts several labels; only one can be served."


def infer_signature(estimator: Any, rows: Sequence[Row]) -> tuple[Signature, list[list[float]]]:
    """The signature of a classifier or regressor over numeric columns, and the rows to go with it.

    Columns are named and ordered by `feature_names_in_` where the estimator has it (the rows may
    then have others besides, as the target), else by the first row. Ranges are those of the rows.
    Raises NotPackaged if a row lacks a column or holds something else than numbers, if the number
    of columns is not the estimator's, or if the estimator cannot predict the first row.
    """
    names = _column_names(estimator, rows)
    values = [[_number(row, name, number) for name in names] for number, row in enumerate(rows)]
    first = ask(estimator, names, values[0], "predict")
    classes = _classes(estimator)
    many = first.ndim > 1 and first.shape[1] > 1
    if classes is not None and many:
        raise NotPackaged(_SEVERAL)
    try:
        columns = [
            Column(name=name, minimum=min(column), maximum=max(column))
            for name, column in zip(names, zip(*values, strict=True), strict=True)
        ]
        signature = Signature(
            layout="array",
            inputs=columns,
            task="regression" if classes is None else "classification",
            classes=classes,
            probabilities=classes is not None and hasattr(estimator, "predict_proba"),
            outputs=[f"output_{n}" for n in range(first.shape[1])] if many else None,
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = f" {problem['input']!r}" if isinstance(problem["input"], str) else "s"
        raise NotPackaged(f"column{name} cannot be served: {problem['msg']}.") from None
    return signature, values


def _column_names(estimator: Any, rows: Sequence[Row]) -> list[str]:
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None:
        missing = [str(name) for name in known if name not in rows[0]]
        if missing:
            raise NotPackaged(f"the examples lack columns of the model: {', '.join(missing[:10])}.")
        return [str(name) for name in known]
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys() or None in row:
            raise NotPackaged(f"example row {number} has other columns than the first line says.")
    names = list(rows[0])
    width = getattr(estimator, "n_features_in_", len(names))
    if width != len(names):
        raise NotPackaged(
            f"the model takes {width} columns and the examples have {len(names)}: "
            f"{', '.join(names[:10])}. Give those that it was fitted on, in their order."
        )
    return names


def _number(row: Row, name: str, number: int) -> float:
    value: Any = row.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= FLOAT32_MAX:  # not: NaN is not less than anything
        raise NotPackaged(f"example row {number}: column {name} must be a finite number.")
    return float(value)


def _classes(estimator: Any) -> list[Any] | None:
    """The labels as JSON has them; whole numbers that are stored as floats become integers."""
    found = getattr(estimator, "classes_", None)
    if found is None:
        return None
    if np.ndim(found[0]) > 0:
        raise NotPackaged(_SEVERAL)
    labels = [
        int(label) if isinstance(label, float) and label.is_integer() else label
        for label in np.asarray(found).tolist()
    ]
    for label in labels:
        if not isinstance(label, str | int):
            raise NotPackaged(f"class {label!r} is neither text nor a whole number nor a boolean.")
    return labels
