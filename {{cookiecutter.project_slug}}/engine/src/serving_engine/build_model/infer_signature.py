"""Infers a signature from an estimator and example rows."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np
from pydantic import ValidationError
from sklearn.utils import get_tags

from ..schema.signature import FLOAT32_MAX, INT64_MAX, Cell, Column, DType, Layout, Signature
from ..text import one_line, shown
from .examples import Examples
from .read_estimator import NotPackaged
from .reference_model import ReferenceModel

MAX_CATEGORIES = 50
_EXPECTED = {
    "float64": "a finite number",
    "int64": "a whole number of 64 bits",
    "bool": "true or false",
    "string": "a string",
    "datetime": "a date",
}
_TASKS = {
    "clusterer": "clustering",
    "density_estimator": "clustering",
    "outlier_detector": "outlier-detection",
}
"""The task of an estimator by its type in scikit-learn's tags."""


def column_names(estimator: Any, examples: Examples, chosen: Sequence[str] | None) -> list[str]:
    """The columns that the estimator takes, in its order.

    They are the chosen ones, else `feature_names_in_` of the estimator, else all of the first row.
    In the first two cases the rows may have more columns, such as the target.
    Raises NotPackaged if a row lacks one of them, or if the estimator takes another number.
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
        raise NotPackaged(
            f"the examples lack columns of the model: {', '.join(missing[:10])}. They have "
            f"{_shortened(rows[0])}. Rename them to those that it was fitted on."
        )
    width = getattr(estimator, "n_features_in_", len(names))
    if width != len(names):
        raise NotPackaged(
            f"the model takes {width} columns and the examples have {len(names)}: "
            f"{', '.join(names[:10])}. Give those that it was fitted on, in their order."
        )
    return names


def infer_columns(examples: Examples, names: Sequence[str]) -> list[Column]:
    """The columns with their types, and with the range or the categories of the examples.

    Raises NotPackaged at a value that is not of its column's type, or at an invalid name.
    """
    columns = []
    for name in names:
        cells = [row[name] for row in examples.rows]
        dtype = "datetime" if name in examples.datetimes else _dtype(cells, name in examples.whole)
        for number, cell in enumerate(cells):
            if cell is not None and not _fits(cell, dtype):
                raise NotPackaged(
                    f"example row {number}: column {name} must be {_EXPECTED[dtype]}, and it is "
                    f"{shown(cell)}. Correct the value, or leave the column out: --columns A,B."
                )
        values = [cell for cell in cells if cell is not None]
        observed: dict[str, Any] = {}
        if name in examples.datetimes:
            observed = dict(zip(("unit", "timezone"), examples.datetimes[name], strict=True))
        elif name in examples.categories and dtype == "string":
            observed = {"categories": examples.categories[name], "categorical": True}
        elif dtype == "string" and values and len(set(values)) <= MAX_CATEGORIES:
            observed = {"categories": sorted(set(values))}
        elif dtype in {"float64", "int64"} and values:
            observed = {"minimum": float(min(values)), "maximum": float(max(values))}
        if name in examples.words:
            observed["words"] = examples.words[name]
        try:
            columns.append(Column(name=name, dtype=dtype, nullable=None in cells, **observed))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise NotPackaged(
                f"column {name!r} cannot be served: {problem['msg']}. Rename it."
            ) from None
    return columns


def infer_signature(
    reference: ReferenceModel,
    layout: Layout,
    inputs: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Signature:
    """The signature of the reference model's estimator in a layout.

    outputs: names of several outputs, or of the labels of a multilabel classifier.
    Raises NotPackaged if the estimator fails on an example, or if it has no signature.
    """
    if layout == "array":
        inputs = [
            column.model_copy(update={"dtype": "float64"}) if column.dtype == "int64" else column
            for column in inputs
        ]
    if layout == "text":
        inputs = [column.model_copy(update={"categories": None}) for column in inputs]
    fields = _task_fields(reference, outputs)
    if outputs and not (fields.get("outputs") or fields["task"] == "multilabel"):
        raise NotPackaged("only several outputs have names, and the model has one.")
    try:
        return Signature(layout=layout, inputs=list(inputs), **fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NotPackaged(f"the model cannot be served: {problem['msg']}.") from None


def _shortened(names: Iterable[object]) -> str:
    texts = [str(name) for name in names]
    shown_names = [name if name == name.strip() else repr(name) for name in texts]
    return one_line(", ".join(shown_names), most=200)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number of JSON: Python's booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _task_fields(reference: ReferenceModel, outputs: Sequence[str] | None) -> dict[str, Any]:
    """The fields of a signature about its task."""
    estimator = reference.estimator
    prediction = reference.call(reference.complete_example, "predict")
    task = _task_by_tags(estimator)
    if task == "outlier-detection" and not hasattr(estimator, "decision_function"):
        raise NotPackaged("the model has no decision_function, which scores outliers.")
    if task is not None:
        return {"task": task}
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return _classification_fields(estimator, classes, prediction, outputs)
    width = prediction.shape[1] if prediction.ndim > 1 else 1
    return {
        "task": "regression",
        "outputs": _output_names(outputs, width) if width > 1 else None,
    }


def _classification_fields(
    estimator: Any, classes: Any, prediction: Any, outputs: Sequence[str] | None
) -> dict[str, Any]:
    probabilities = hasattr(estimator, "predict_proba")
    if prediction.ndim == 1:
        return {
            "task": "classification",
            "classes": _json_labels(classes),
            "probabilities": probabilities,
        }
    several = [_json_labels(each) for each in classes] if np.ndim(classes[0]) else None
    if several is not None and not all(set(labels) <= {0, 1} for labels in several):
        return {
            "task": "multi-output-classification",
            "outputs": _output_names(outputs, len(several)),
            "output_classes": several,
        }
    labels = _json_labels(classes) if several is None else list(range(len(several)))
    return {
        "task": "multilabel",
        "classes": _output_names(outputs, len(labels)) if outputs else labels,
        "probabilities": probabilities,
    }


def _output_names(chosen: Sequence[str] | None, width: int) -> list[str]:
    names = list(chosen or [f"output_{number}" for number in range(width)])
    if len(names) != width:
        raise NotPackaged(f"the model has {width} outputs, and {len(names)} were named.")
    return names


def _dtype(cells: Sequence[object], whole: bool) -> DType:
    first = next((cell for cell in cells if cell is not None), 0.0)
    if isinstance(first, bool):
        return "bool"
    if isinstance(first, str):
        return "string"
    return "int64" if whole else "float64"


def _fits(cell: object, dtype: DType) -> bool:
    if dtype in {"bool", "string", "datetime"}:
        return isinstance(cell, bool if dtype == "bool" else str)
    return is_number(cell) and abs(cell) <= (INT64_MAX if dtype == "int64" else FLOAT32_MAX)


def _task_by_tags(estimator: Any) -> str | None:
    """The task if scikit-learn's tags determine it, else None."""
    try:
        return _TASKS.get(get_tags(estimator).estimator_type or "")
    except Exception:  # a class of transformers.py may have no tags
        return None


def _json_labels(classes: Any) -> list[Cell]:
    """The labels as JSON has them; whole numbers that are stored as floats become integers."""
    labels = [
        int(label) if isinstance(label, float) and label.is_integer() else label
        for label in np.asarray(classes).tolist()
    ]
    for label in labels:
        if not isinstance(label, str | int):
            raise NotPackaged(f"class {label!r} is neither text nor a whole number nor a boolean.")
    return labels
