"""Infers a signature from an estimator and example rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError
from sklearn.utils import get_tags

from ..schema.signature import FLOAT32_MAX, Cell, Column, Signature
from .answers import Owner
from .estimator import NotPackaged
from .examples import Examples

MOST_CATEGORIES = 50
_EXPECTED = {
    "float64": "a finite number",
    "int64": "a whole number of 64 bits",
    "bool": "true or false",
    "string": "a string",
}


def column_names(estimator: Any, examples: Examples, chosen: Sequence[str] | None) -> list[str]:
    """The columns that the estimator takes, in its order.

    Those of `feature_names_in_` where it has that (the rows may then have others besides, as the
    target), else those that were chosen, else all of the first row.
    Raises NotPackaged if a row lacks one of them, or if their number is not the estimator's.
    """
    rows = examples.rows
    known = chosen or getattr(estimator, "feature_names_in_", None)
    if known is None:
        for number, row in enumerate(rows):
            if row.keys() != rows[0].keys() or None in row:
                raise NotPackaged(f"example row {number} has other columns than the first row.")
        known = rows[0]
    names = [str(name) for name in known]
    missing = [name for name in names if any(name not in row for row in rows)]
    if missing:
        raise NotPackaged(f"the examples lack columns of the model: {', '.join(missing[:10])}.")
    width = getattr(estimator, "n_features_in_", len(names))
    if width != len(names):
        raise NotPackaged(
            f"the model takes {width} columns and the examples have {len(names)}: "
            f"{', '.join(names[:10])}. Give those that it was fitted on, in their order."
        )
    return names


def columns(examples: Examples, names: Sequence[str]) -> list[Column]:
    """The columns with their types, and what was observed in them.

    Raises NotPackaged at a value that is not of its column's type, or at a name that cannot be
    served.
    """
    found = []
    for name in names:
        cells = [row[name] for row in examples.rows]
        dtype = _dtype(cells, name in examples.whole)
        for number, cell in enumerate(cells):
            if cell is not None and not _fits(cell, dtype):
                raise NotPackaged(
                    f"example row {number}: column {name} must be {_EXPECTED[dtype]}."
                )
        given = [cell for cell in cells if cell is not None]
        observed: dict[str, Any] = {}
        if name in examples.categories and dtype == "string":
            observed = {"categories": examples.categories[name], "categorical": True}
        elif dtype == "string" and given and len(set(given)) <= MOST_CATEGORIES:
            observed = {"categories": sorted(set(given))}
        elif dtype in {"float64", "int64"} and given:
            observed = {"minimum": float(min(given)), "maximum": float(max(given))}
        try:
            found.append(Column(name=name, dtype=dtype, nullable=None in cells, **observed))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise NotPackaged(f"column {name!r} cannot be served: {problem['msg']}.") from None
    return found


def signature_of(
    owner: Owner, layout: Any, inputs: Sequence[Column], outputs: Sequence[str] | None
) -> Signature:
    """The signature of the owner's estimator, in this layout.

    outputs: what several outputs, or the labels of a multilabel classifier, are called.
    Raises NotPackaged if the estimator cannot predict an example, or not as a signature
    can say.
    """
    if layout == "array":
        inputs = [column.model_copy(update={"dtype": "float64"}) for column in inputs]
    if layout == "text":
        inputs = [column.model_copy(update={"categories": None}) for column in inputs]
    answer = owner.ask(owner.typical, "predict")
    kind, estimator = _kind(owner.estimator), owner.estimator
    classes = None if kind in {"cluster", "outlier"} else getattr(estimator, "classes_", None)
    fields: dict[str, Any] = {"task": "clustering"}
    if kind == "outlier":
        fields = {"task": "outlier-detection"}
        if not hasattr(estimator, "decision_function"):
            raise NotPackaged("the model has no decision_function, which scores outliers.")
    elif kind != "cluster" and classes is None:
        width = answer.shape[1] if answer.ndim > 1 else 1
        several = _names(outputs, width) if width > 1 else None
        fields = {"task": "regression", "outputs": several}
    elif classes is not None:
        fields = _classification(estimator, classes, answer, outputs)
    if outputs and not (fields.get("outputs") or fields["task"] == "multilabel"):
        raise NotPackaged("only several outputs have names, and the model has one.")
    try:
        return Signature(layout=layout, inputs=list(inputs), **fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NotPackaged(f"the model cannot be served: {problem['msg']}.") from None


def _classification(
    estimator: Any, classes: Any, answer: Any, outputs: Sequence[str] | None
) -> dict[str, Any]:
    shares = hasattr(estimator, "predict_proba")
    if answer.ndim == 1:
        return {
            "task": "classification",
            "classes": _labels(classes),
            "probabilities": shares,
        }
    several = [_labels(each) for each in classes] if np.ndim(classes[0]) else None
    if several is not None and not all(set(labels) <= {0, 1} for labels in several):
        names = _names(outputs, len(several))
        return {
            "task": "multi-output-classification",
            "outputs": names,
            "output_classes": several,
        }
    labels = _labels(classes) if several is None else list(range(len(several)))
    named = _names(outputs, len(labels)) if outputs else labels
    return {"task": "multilabel", "classes": named, "probabilities": shares}


def _names(given: Sequence[str] | None, width: int) -> list[str]:
    names = list(given or [f"output_{number}" for number in range(width)])
    if len(names) != width:
        raise NotPackaged(f"the model has {width} outputs, and {len(names)} were named.")
    return names


def _dtype(cells: Sequence[Any], whole: bool) -> Any:
    first = next((cell for cell in cells if cell is not None), 0.0)
    if isinstance(first, bool):
        return "bool"
    if isinstance(first, str):
        return "string"
    return "int64" if whole else "float64"


def _fits(cell: Any, dtype: str) -> bool:
    if dtype in {"bool", "string"}:
        return isinstance(cell, bool if dtype == "bool" else str)
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return number and abs(cell) <= (2**63 - 1 if dtype == "int64" else FLOAT32_MAX)


def _kind(estimator: Any) -> str | None:
    """`cluster`, `outlier`, or None for what classes_ and predict tell apart."""
    try:
        kind = get_tags(estimator).estimator_type
    except Exception:  # a class of one's own need not have tags
        return None
    kinds = {"clusterer": "cluster", "density_estimator": "cluster", "outlier_detector": "outlier"}
    return kinds.get(kind or "")


def _labels(classes: Any) -> list[Cell]:
    """The labels as JSON has them; whole numbers that are stored as floats become integers."""
    labels = [
        int(label) if isinstance(label, float) and label.is_integer() else label
        for label in np.asarray(classes).tolist()
    ]
    for label in labels:
        if not isinstance(label, str | int):
            raise NotPackaged(f"class {label!r} is neither text nor a whole number nor a boolean.")
    return labels
