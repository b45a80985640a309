"""The reference model: the estimator as its owner calls it, whose outputs are the golden ones."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from ..runtimes.scikit_learn.estimator import dense, indicator_probabilities
from ..schema.predictions import Outputs, Prediction, PredictionFormatter
from ..schema.signature import Signature
from ..text import one_line
from .errors import NotPackaged
from .rejected_cells import picks_by_name, why_it_fails


class NeedsFrame(NotPackaged):
    """The model takes no array: it picks columns by name."""


class NeedsPandasOutput(NotPackaged):
    """A step of the pipeline names columns, and the step before it does not return a DataFrame.

    The pipeline was fitted while scikit-learn's configuration said `transform_output="pandas"`.
    """


class ReferenceModel:
    """An estimator with the examples in the form that it was fitted on.

    examples: a DataFrame, an array (n, columns) or a list of texts. complete_example: the number of
    an example without null. columns: the names of the columns.
    """

    def __init__(
        self, estimator: Any, examples: Any, complete_example: int, columns: Sequence[str]
    ) -> None:
        self.estimator = estimator
        self.complete_example = complete_example
        self._examples = examples
        self._columns = columns

    def call(self, number: int, method: str) -> Any:
        """Call a method of the estimator with one example. Returns an array, or a list of arrays.

        Raises NotPackaged if the estimator fails.
        """
        example = getattr(self._examples, "iloc", self._examples)[number : number + 1]
        try:
            with warnings.catch_warnings(action="ignore"):
                outputs = getattr(self.estimator, method)(example)
                outputs = outputs if isinstance(outputs, list) else dense(outputs)
        except NotFittedError:
            raise NotPackaged("the model is not fitted. Save it after `fit`.") from None
        except Exception as error:  # any exception of the model
            why = why_it_fails(self.estimator, method, example, self._columns, error)
            raise _kind(example, error)(
                f"the model fails on example row {number}: {why}"
            ) from error
        if method == "predict" and len(outputs) != 1:
            raise NotPackaged(
                f"the model gives {len(outputs)} predictions for one example. If it is a model of "
                f"texts, choose its one column of {one_line(', '.join(self._columns), most=200)}: "
                "--columns NAME."
            )
        return outputs

    def predict(self, number: int, signature: Signature) -> Prediction:
        """The prediction for one example.

        Raises NotPackaged if the estimator fails, or predicts a number that is not finite.
        """
        outputs = self._outputs(number, signature)
        if not outputs.finite:
            raise NotPackaged(
                f"the model's output for example row {number} is not a finite number. The row may "
                "be far from those that it was fitted on: leave it out, or fit the model again."
            )
        (prediction,) = PredictionFormatter(signature)(outputs)
        return prediction

    def _outputs(self, number: int, signature: Signature) -> Outputs:
        values = self.call(number, "predict")
        match signature.task:
            case "regression":
                return Outputs(values.astype(float).reshape((1, -1) if signature.outputs else 1))
            case "clustering":
                return Outputs(values.astype(int))
            case "outlier-detection":
                scores = self.call(number, "decision_function").astype(float).reshape(1)
                return Outputs(values == -1, scores=scores)
            case "multi-output-classification":
                labels = zip(values[0], self.estimator.classes_, strict=True)
                return Outputs(np.array([[_index(*pair) for pair in labels]]))
        probabilities = None
        if signature.probabilities:
            probabilities = indicator_probabilities(
                self.call(number, "predict_proba"), self.estimator.classes_
            )
        if signature.task == "multilabel":
            return Outputs(values.astype(bool), probabilities)
        return Outputs(np.array([_index(values.item(), self.estimator.classes_)]), probabilities)


def _kind(example: Any, error: Exception) -> type[NotPackaged]:
    if picks_by_name(example, error):
        return NeedsFrame
    pandas_output = hasattr(example, "iloc") and "only supported for dataframes" in str(error)
    return NeedsPandasOutput if pandas_output else NotPackaged


def _index(label: Any, classes: Any) -> int:
    positions = np.flatnonzero(np.asarray(classes) == label)
    if not len(positions):
        raise NotPackaged("the model predicts a label that is none of its classes.")
    return int(positions[0])
