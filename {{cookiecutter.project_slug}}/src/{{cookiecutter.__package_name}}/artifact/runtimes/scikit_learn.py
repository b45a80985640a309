"""Runs scikit-learn estimators from `.skops` files. Nothing here unpickles.

skops rebuilds objects from a schema of types, of which it trusts a list of its own. Further
types must be named in the manifest *and* stand in `REVIEWED` (or be classes of the project's
`transformers.py`): a manifest alone can not make a type trusted.
"""

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...schema.answers import Outputs
from ...schema.signature import Signature
from ..manifest import Manifest

REVIEWED = frozenset(
    {
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.tree._tree.Tree",
    }
)
"""Types that skops leaves to a reader's judgement, and that are plain data when the artifact
comes from the owner of the service: fitted trees, neighbour indices and loss functions."""

# `predict` of these takes the class of the highest probability: one call gives both answers.
_PREDICTS_BY_PROBABILITY = frozenset(
    {
        "DecisionTreeClassifier",
        "ExtraTreesClassifier",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "LogisticRegression",
        "MLPClassifier",
        "RandomForestClassifier",
    }
)


class Estimator:
    """A loaded estimator, called with the rows of a batch."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator = estimator
        self._signature = signature
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        self._by_probability = (
            signature.probabilities and type(last).__name__ in _PREDICTS_BY_PROBABILITY
        )
        if signature.classes is not None:
            classes = np.asarray(estimator.classes_)
            self._sorted = np.argsort(classes)
            self._classes = classes[self._sorted]

    def __call__(self, rows: Sequence[Sequence[float | None]]) -> Outputs:
        """Predict n rows, each in signature order.

        Raises whatever the estimator raises.
        """
        batch = np.array(rows, dtype=np.float64)
        if self._signature.classes is None:
            values = np.asarray(self._estimator.predict(batch), dtype=np.float64)
            single = self._signature.outputs is None
            return Outputs(values.reshape(len(batch)) if single else values)
        if not self._signature.probabilities:
            return Outputs(self._indices(self._estimator.predict(batch)))
        probabilities = np.asarray(self._estimator.predict_proba(batch), dtype=np.float64)
        if self._by_probability:
            return Outputs(probabilities.argmax(axis=1), probabilities)
        return Outputs(self._indices(self._estimator.predict(batch)), probabilities)

    def _indices(self, labels: Any) -> NDArray[np.int64]:
        found = np.searchsorted(self._classes, labels)
        return cast("NDArray[np.int64]", self._sorted[found])


def check_version(manifest: Manifest) -> str | None:
    """Compare the installed scikit-learn with the manifest's.

    Returns a note where the patch releases differ. Raises ModelError where the minors do.
    """
    built, installed = manifest.built_with.get("scikit-learn"), version("scikit-learn")
    if built is None:
        raise ModelError("the manifest names no scikit-learn release. Package the model again.")
    if built.split(".")[:2] != installed.split(".")[:2]:
        minor = ".".join(built.split(".")[:2])
        raise ModelError(
            f"the model was fitted with scikit-learn {built}, and {installed} is installed. "
            f"Install that minor (uv add 'scikit-learn~={minor}.0'), or fit and package it again."
        )
    if built != installed:
        return f"the model was fitted with scikit-learn {built}; {installed} is installed"
    return None


def load(data: bytes, manifest: Manifest, transformers: str) -> Estimator:
    """Build the estimator from the bytes of a skops file whose hash was checked.

    transformers: the module whose classes a model may use besides those of the libraries.
    Raises ModelError for types that are not trusted, and for anything the parser stumbles over.
    """
    import skops.io  # noqa: PLC0415 - takes a second: only a process that loads pays for it
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    trusted = manifest.artifact.trusted_types
    for name in trusted:
        if name not in REVIEWED and name.rpartition(".")[0] != transformers:
            raise ModelError(
                f"the manifest trusts the type {name}, which this service does not. Use a class of "
                "transformers.py, or review the type and add it to REVIEWED in scikit_learn.py."
            )
    try:
        with warnings.catch_warnings(action="ignore"):
            estimator = skops.io.loads(data, trusted=trusted)
    except UntrustedTypesFoundException as error:
        raise ModelError(
            f"the artifact holds types that the manifest does not trust: {error}. "
            "Review them and package the model again."
        ) from None
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"the artifact cannot be parsed ({type(error).__name__}). Package the model again."
        ) from error
    _check_shape(estimator, manifest.signature)
    _hold_to_one_job(estimator)
    return Estimator(estimator, manifest.signature)


def _check_shape(estimator: Any, signature: Signature) -> None:
    wanted = ["predict_proba"] if signature.probabilities else ["predict"]
    for method in wanted:
        if not callable(getattr(estimator, method, None)):
            raise ModelError(f"the model has no {method}. Package a fitted estimator.")
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and width != len(signature.inputs):
        raise ModelError(
            f"the model takes {width} columns and the manifest names {len(signature.inputs)}. "
            "Package the model again."
        )
    classes = getattr(estimator, "classes_", None)
    if signature.classes is not None and (
        classes is None or np.asarray(classes).tolist() != signature.classes
    ):
        raise ModelError("the model has other classes than the manifest. Package the model again.")


def _hold_to_one_job(estimator: Any) -> None:
    """A process pool or thread pool per prediction costs more than it gives."""
    jobs = {name: 1 for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"}
    if jobs:
        estimator.set_params(**jobs)
