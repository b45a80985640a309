"""Runs scikit-learn estimators from `.skops` files. Nothing here unpickles.

skops rebuilds objects from a schema of types, of which it trusts a list of its own; `trust.py`
says which further types a manifest may name.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from ...schema.answers import Outputs
from ...schema.signature import Signature
from ..refusals import OtherRelease, Refusal, Unparsable, UntrustedTypes, WrongShape, reason
from ..silence import heard_warnings, install_listener
from .direct import OutOfRange, Step, direct
from .settle import settle
from .trust import check_trusted

# `predict` of these takes the class of the highest probability, or of the highest score where
# probabilities rise with scores: one call gives both answers.
_PREDICTS_BY_PROBABILITY = frozenset(
    {
        "BaggingClassifier",
        "CalibratedClassifierCV",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "ExtraTreesClassifier",
        "GaussianNB",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "KNeighborsClassifier",
        "LinearDiscriminantAnalysis",
        "LogisticRegression",
        "LogisticRegressionCV",
        "MLPClassifier",
        "RandomForestClassifier",
    }
)

# Closer probabilities may be ties that scores decide, or that `predict` resolves the other way.
_GAP = 1e-9


class Estimator:
    """A loaded estimator, called with the rows of a batch."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator = estimator
        self._signature = signature
        self._direct: Step | None = None
        self._by_probability = signature.probabilities and _predicts_by_probability(estimator)
        if signature.classes is not None:
            classes = np.asarray(estimator.classes_)
            self._order = np.argsort(classes)
            self._sorted = classes[self._order]

    def __call__(self, rows: Sequence[Sequence[float | None]] | NDArray[np.float64]) -> Outputs:
        """Predict n rows, each in signature order.

        Raises whatever the estimator raises.
        """
        batch = np.array(rows, dtype=np.float64)
        with np.errstate(all="ignore"):  # answers that are not finite are refused, not printed
            return self._regress(batch) if self._signature.classes is None else self._label(batch)

    def shorten(self, rows: Sequence[Sequence[float | None]]) -> None:
        """Do the arithmetic alone from now on, where it gives the estimator's bits on `rows`."""
        scores = self._signature.classes is None or self._signature.probabilities
        if scores and not any(column.nullable for column in self._signature.inputs):
            with heard_warnings(), np.errstate(all="ignore"), suppress(Exception):
                # Whatever it stumbles over, the estimator itself has answered these rows.
                self._direct = direct(self._estimator, np.array(rows, dtype=np.float64))

    def _scores(self, batch: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._direct is not None:
            with suppress(OutOfRange):  # the estimator says what is wrong
                return self._direct(batch)
        method = "predict" if self._signature.classes is None else "predict_proba"
        return np.asarray(self._own(method, batch), dtype=np.float64)

    def _own(self, method: str, batch: NDArray[np.float64]) -> Any:
        with heard_warnings():
            return getattr(self._estimator, method)(batch)

    def _regress(self, batch: NDArray[np.float64]) -> Outputs:
        values = self._scores(batch)
        return Outputs(values if self._signature.outputs else values.reshape(len(batch)))

    def _label(self, batch: NDArray[np.float64]) -> Outputs:
        if not self._signature.probabilities:
            return Outputs(self._indices(self._own("predict", batch)))
        probabilities = self._scores(batch)
        if self._by_probability and _no_ties(probabilities):
            return Outputs(probabilities.argmax(axis=1), probabilities)
        return Outputs(self._indices(self._own("predict", batch)), probabilities)

    def _indices(self, labels: Any) -> NDArray[np.int64]:
        found = np.searchsorted(self._sorted, labels).clip(max=len(self._sorted) - 1)
        if not np.array_equal(self._sorted[found], labels):
            raise ValueError("the model answered with a label that is none of its classes")
        return cast("NDArray[np.int64]", self._order[found])


def check_release(built: str | None) -> str | None:
    """Compare the installed scikit-learn with the one that a model was `built` with.

    Returns a note where the patch releases differ. Raises OtherRelease where the minors do.
    """
    installed = version("scikit-learn")
    if built is None:
        raise OtherRelease("the manifest names no scikit-learn release")
    minor = ".".join(built.split(".")[:2])
    if minor != ".".join(installed.split(".")[:2]):
        raise OtherRelease(
            f"the model was fitted with scikit-learn {built}, and {installed} is installed",
            remedy=f"Install that minor (uv add 'scikit-learn~={minor}.0'), "
            "or fit and package the model again.",
        )
    if built != installed:
        return f"the model was fitted with scikit-learn {built}; {installed} is installed"
    return None


def load(data: bytes, signature: Signature, trusted_types: Sequence[str]) -> Estimator:
    """Build the estimator from the bytes of a skops file whose hash was checked.

    Raises UntrustedTypes, Unparsable, OtherRelease or WrongShape.
    """
    estimator = parse(data, trusted_types)
    try:
        _check_shape(estimator, signature)
        settle(estimator)
        return Estimator(estimator, signature)
    except Refusal:
        raise
    except Exception as error:  # a crafted file may hold an estimator in any state
        raise WrongShape(f"the model is not a sound estimator ({reason(error)})") from error


def parse(data: bytes, trusted_types: Sequence[str]) -> Any:
    """What a skops file holds, if it is of this release and of trusted types.

    Raises UntrustedTypes, Unparsable or OtherRelease.
    """
    check_trusted(trusted_types)
    install_listener()
    warnings.filterwarnings("always", category=InconsistentVersionWarning)
    with heard_warnings() as heard:
        try:
            found = skops.io.loads(data, trusted=list(trusted_types))
        except UntrustedTypesFoundException as error:
            raise UntrustedTypes(
                "the artifact holds types that the manifest does not trust: "
                f"{str(error).splitlines()[0].partition(': ')[2]}",
                remedy="Review them and package the model again.",
            ) from None
        except Exception as error:  # there is no list of what skops raises
            raise Unparsable(f"the artifact cannot be parsed ({reason(error)})") from error
    for warning in heard:
        if isinstance(warning, InconsistentVersionWarning):
            check_release(str(warning.original_sklearn_version))
    return found


def _check_shape(estimator: Any, signature: Signature) -> None:
    for method in ("predict", "predict_proba") if signature.probabilities else ("predict",):
        if not callable(getattr(estimator, method, None)):
            raise WrongShape(f"the model has no {method}")
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and width != len(signature.inputs):
        raise WrongShape(
            f"the model takes {width} columns and the manifest names {len(signature.inputs)}"
        )
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and list(names) != signature.columns:
        raise WrongShape("the model has other columns than the manifest, or in another order")
    classes = getattr(estimator, "classes_", None)
    shape = None if classes is None else np.shape(classes)
    wanted = None if signature.classes is None else (len(signature.classes),)
    if shape != wanted or (wanted and np.asarray(classes).tolist() != signature.classes):
        raise WrongShape("the model has other classes than the manifest")


def _predicts_by_probability(estimator: Any) -> bool:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    kind = type(estimator)
    return kind.__module__.startswith("sklearn.") and kind.__name__ in _PREDICTS_BY_PROBABILITY


def _no_ties(probabilities: NDArray[np.float64]) -> bool:
    if probabilities.shape[1] == 1:
        return True
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return bool((top[:, 1] - top[:, 0] > _GAP).all())
