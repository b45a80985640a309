"""Infers the signature of a scikit-learn estimator."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError
from sklearn.utils import get_tags

from ..schema.signature import Cell, Column, Layout, Signature
from .errors import NotPackaged
from .infer_columns import columns_of_layout
from .reference_model import ReferenceModel

_TASKS = {
    "clusterer": "clustering",
    "density_estimator": "clustering",
    "outlier_detector": "outlier-detection",
}
"""The task of an estimator by its type in scikit-learn's tags."""


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
    inputs = columns_of_layout(inputs, layout)
    fields = _task_fields(reference, outputs)
    if outputs and not (fields.get("outputs") or fields["task"] == "multilabel"):
        raise NotPackaged("only several outputs have names, and the model has one.")
    try:
        return Signature(layout=layout, inputs=inputs, **fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NotPackaged(f"the model cannot be served: {problem['msg']}.") from None


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
        "outputs": output_names(outputs, width) if width > 1 else None,
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
            "outputs": output_names(outputs, len(several)),
            "output_classes": several,
        }
    labels = _json_labels(classes) if several is None else list(range(len(several)))
    return {
        "task": "multilabel",
        "classes": output_names(outputs, len(labels)) if outputs else labels,
        "probabilities": probabilities,
    }


def output_names(chosen: Sequence[str] | None, width: int) -> list[str]:
    names = list(chosen or [f"output_{number}" for number in range(width)])
    if len(names) != width:
        raise NotPackaged(f"the model has {width} outputs, and {len(names)} were named.")
    return names


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
