"""What an estimator itself answers, asked as its owner would ask: the truth for golden examples."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from ..artifact.refusals import reason
from ..schema.answers import Answers, Outputs, Prediction
from ..schema.signature import Signature
from .estimator import NotPackaged


def own_answer(estimator: Any, signature: Signature, row: Sequence[float]) -> Prediction:
    """The prediction of one row, without anything that serving does differently.

    Raises NotPackaged if the estimator fails, or answers with a number that is not finite.
    """
    values, probabilities = ask(estimator, signature.columns, row, "predict"), None
    if signature.classes is None:
        values = values.astype(np.float64).reshape((1, -1) if signature.outputs else 1)
    else:
        values = np.flatnonzero(np.asarray(estimator.classes_) == values.item())
        if signature.probabilities:
            probabilities = ask(estimator, signature.columns, row, "predict_proba")
    if not len(values):
        raise NotPackaged("the model answers an example with a label that is none of its classes.")
    outputs = Outputs(values, probabilities)
    if not outputs.finite:
        raise NotPackaged("the model's answer to an example is not a finite number.")
    (answer,) = Answers(signature)(outputs)
    return answer


def ask(estimator: Any, columns: Sequence[str], row: Sequence[float], method: str) -> NDArray[Any]:
    """Call a method of the estimator with one row, as a DataFrame if it was fitted on one.

    Raises NotPackaged if the estimator fails.
    """
    rows: Any = np.array([row], dtype=np.float64)
    if hasattr(estimator, "feature_names_in_"):
        rows = _frame(rows, columns)
    try:
        with warnings.catch_warnings(action="ignore"):
            return np.asarray(getattr(estimator, method)(rows))
    except NotFittedError:
        raise NotPackaged("the model is not fitted.") from None
    except Exception as error:
        raise NotPackaged(f"the model fails on an example ({reason(error)}).") from error


def _frame(rows: NDArray[np.float64], columns: Sequence[str]) -> Any:
    try:
        pandas = import_module("pandas")  # part of an extra; without it the names go unchecked
    except ImportError:
        return rows
    return pandas.DataFrame(rows, columns=list(columns))
