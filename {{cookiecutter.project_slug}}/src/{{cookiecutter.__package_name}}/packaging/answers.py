"""What an estimator itself answers, asked as its owner would ask: the truth for golden examples."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from ..artifact.refusals import reason
from ..artifact.runtimes.estimator import dense, indicator_probabilities
from ..schema.answers import Answers, Outputs, Prediction
from ..schema.signature import Signature
from .estimator import NotPackaged


class Owner:
    """The owner of an estimator, who has the examples as they were before they became rows.

    examples: a DataFrame, an array (n, columns) or a list of texts. typical: the number of one of
    them that lacks nothing.
    """

    def __init__(self, estimator: Any, examples: Any, typical: int) -> None:
        self.estimator = estimator
        self.typical = typical
        self._examples = examples

    def ask(self, number: int, method: str) -> Any:
        """Call a method of the estimator with one example; an array, or a list of them.

        Raises NotPackaged if the estimator fails.
        """
        part = getattr(self._examples, "iloc", self._examples)[number : number + 1]
        try:
            with warnings.catch_warnings(action="ignore"):
                found = getattr(self.estimator, method)(part)
                found = found if isinstance(found, list) else dense(found)
        except NotFittedError:
            raise NotPackaged("the model is not fitted.") from None
        except Exception as error:
            raise NotPackaged(f"the model fails on an example ({reason(error)}).") from error
        if method == "predict" and len(found) != 1:
            raise NotPackaged(
                f"the model gives {len(found)} answers to one example. If it is a model of texts, "
                "choose its one column: --columns NAME."
            )
        return found

    def answer(self, number: int, signature: Signature) -> Prediction:
        """The prediction of one example, without anything that serving does differently.

        Raises NotPackaged if the estimator fails, or answers with a number that is not finite.
        """
        outputs = self._outputs(number, signature)
        if not outputs.finite:
            raise NotPackaged("the model's answer to an example is not a finite number.")
        (answer,) = Answers(signature)(outputs)
        return answer

    def _outputs(self, number: int, signature: Signature) -> Outputs:
        values = self.ask(number, "predict")
        match signature.task:
            case "regression":
                return Outputs(values.astype(float).reshape((1, -1) if signature.outputs else 1))
            case "clustering":
                return Outputs(values.astype(int))
            case "outlier-detection":
                scores = self.ask(number, "decision_function").astype(float).reshape(1)
                return Outputs(values == -1, scores=scores)
            case "multi-output-classification":
                classes = self.estimator.classes_
                labels = zip(values[0], classes, strict=True)
                return Outputs(np.array([[_index(*pair) for pair in labels]]))
        probabilities = None
        if signature.probabilities:
            found = self.ask(number, "predict_proba")
            probabilities = indicator_probabilities(found, self.estimator.classes_)
        if signature.task == "multilabel":
            return Outputs(values.astype(bool), probabilities)
        return Outputs(np.array([_index(values.item(), self.estimator.classes_)]), probabilities)


def _index(label: Any, classes: Any) -> int:
    found = np.flatnonzero(np.asarray(classes) == label)
    if not len(found):
        raise NotPackaged("the model answers an example with a label that is none of its classes.")
    return int(found[0])
