"""Turns what `PythonModel.predict` returns into outputs, and finds the task from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schema.predictions import Outputs
from ...schema.signature import Label, Signature
from .model_class import Answer

_TASKS = (
    ({"labels", "probabilities"}, {"labels"}, "classification"),
    ({"labels", "probabilities"}, {"probabilities"}, "classification"),
    ({"indicators", "probabilities"}, {"indicators"}, "multilabel"),
    ({"values"}, {"values"}, "regression"),
    ({"clusters"}, {"clusters"}, "clustering"),
    ({"scores", "outliers"}, {"scores"}, "outlier-detection"),
)
"""The names that an answer may have, those that it must have, and the task that they mean."""


class InvalidAnswer(Exception):
    """`predict` returned something that is no prediction of its task."""


def task_of(answer: Answer) -> str:
    """The task of a model that returns such an answer. Raises InvalidAnswer."""
    names = set(_named(answer))
    for allowed, needed, task in _TASKS:
        if needed <= names <= allowed:
            return task
    raise InvalidAnswer(
        f"`predict` returned {', '.join(sorted(map(str, names))) or 'nothing'}, which is no task: "
        "see PythonModel.predict"
    )


def to_outputs(answer: Answer, signature: Signature, count: int) -> Outputs:
    """The outputs of `count` rows. Raises InvalidAnswer if they do not fit the signature."""
    if task_of(answer) != signature.task:
        raise InvalidAnswer(f"`predict` returned {task_of(answer)}, not {signature.task}")
    arrays = _named(answer)
    classes = signature.classes or []
    several = (count, len(classes))
    probabilities = scores = None
    values: NDArray[Any]
    if ("probabilities" in arrays) != signature.probabilities:
        raise InvalidAnswer("`predict` must return probabilities always, or never")
    if signature.probabilities:
        probabilities = _array("probabilities", arrays, several, np.float64)
    match signature.task:
        case "classification" if "labels" in arrays:
            values = _indices(arrays["labels"], classes, count)
        case "classification" if probabilities is not None:
            values = probabilities.argmax(axis=1)
        case "multilabel":
            values = _array("indicators", arrays, several, np.bool_)
        case "clustering":
            values = _array("clusters", arrays, (count,), np.int64)
        case "outlier-detection":
            scores = _array("scores", arrays, (count,), np.float64)
            values = scores < 0
            if "outliers" in arrays:
                values = _array("outliers", arrays, (count,), np.bool_)
        case _:
            shape = (count, len(signature.outputs)) if signature.outputs else (count,)
            values = _array("values", arrays, shape, np.float64)
    return Outputs(values, probabilities, scores)


def width_of(answer: Answer) -> int:
    """How many values a regressor's answer has for each row."""
    values = np.asarray(_named(answer)["values"])
    return values.shape[1] if values.ndim > 1 else 1


def _named(answer: Answer) -> Mapping[str, Any]:
    return answer if isinstance(answer, Mapping) else {"values": answer}


def _array(
    name: str, arrays: Mapping[str, Any], shape: tuple[int, ...], dtype: type[Any]
) -> NDArray[Any]:
    """A copy of one array: the model may use its memory again."""
    try:
        found = np.asarray(arrays[name])
        if dtype is not np.float64 and found.dtype.kind not in ("b" if dtype is np.bool_ else "iu"):
            raise InvalidAnswer(f"{name} must be {_DTYPES[dtype]}, and they are {found.dtype}")
        array = np.array(found, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InvalidAnswer(f"{name} must be {_DTYPES[dtype]}") from error
    if array.shape == (*shape, 1):
        array = array.reshape(shape)
    if array.shape != shape:
        raise InvalidAnswer(f"{name} have the shape {array.shape}, and not {shape}")
    return array


_DTYPES = {np.float64: "numbers", np.bool_: "booleans", np.int64: "integers"}


def _indices(labels: Any, classes: Sequence[Label], count: int) -> NDArray[np.int64]:
    found = np.asarray(labels, dtype=object).tolist()
    numbers = {(type(label), label): number for number, label in enumerate(classes)}
    try:
        indices = [numbers[type(_scalar(label)), _scalar(label)] for label in found]
    except (KeyError, TypeError):
        raise InvalidAnswer("`predict` returned a label that is none of `classes`") from None
    if len(indices) != count:
        raise InvalidAnswer(f"`predict` returned {len(indices)} labels for {count} rows")
    return np.array(indices, dtype=np.int64)


def _scalar(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label
