"""Loads scikit-learn estimators from `.skops` files. Nothing here unpickles.

skops rebuilds objects from a schema of types, of which it trusts a list of its own and
`skops_files.py` the public estimators; `trust.py` says which further types a manifest may name.
"""

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from ...schema.signature import Label, Signature
from ..refusals import (
    LibraryMissing,
    OtherRelease,
    Refusal,
    Unparsable,
    UntrustedTypes,
    WrongShape,
    reason,
)
from ..silence import heard_warnings, install_listener
from .estimator import Estimator
from .settle import settle
from .skops_files import UntrustedTypesFoundException, loads
from .trust import check_trusted

ALWAYS = ("python", "scikit-learn", "numpy", "skops")
LIBRARIES = ("pandas", "xgboost", "lightgbm")
"""What every manifest names in `built_with`, and what it names where a model needs it."""


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


def check_libraries(built_with: Mapping[str, str]) -> None:
    """Check that the other libraries which a model needs are there, of the same major release.

    Raises LibraryMissing or OtherRelease.
    """
    further = [name for name in built_with if name not in ALWAYS]
    for name in further:
        built, distribution = built_with[name], distribution_of(name)
        if distribution is None:
            raise LibraryMissing(name, built)
        installed = version(distribution)
        if installed.partition(".")[0] != built.partition(".")[0]:
            raise OtherRelease(
                f"the model was packaged with {name} {built}, and {installed} is installed",
                remedy=f"Install that release (uv add '{name}=={built}'), or package it again.",
            )


def distribution_of(package: str) -> str | None:
    """The installed distribution that a package is imported from; xgboost may be xgboost-cpu."""
    try:
        version(package)
    except PackageNotFoundError:
        return next(iter(packages_distributions().get(package, [])), None)
    return package


def load(data: bytes, signature: Signature, trusted_types: Sequence[str]) -> Estimator:
    """Build the estimator from the bytes of a skops file whose hash was checked.

    Raises UntrustedTypes, Unparsable, OtherRelease, LibraryMissing or WrongShape.
    """
    return serve(parse(data, trusted_types), signature)


def serve(estimator: Any, signature: Signature) -> Estimator:
    """Put an estimator behind a signature; it is settled for that, and changed.

    Raises LibraryMissing or WrongShape.
    """
    try:
        _check_shape(estimator, signature)
        settle(estimator, names=signature.layout == "frame")
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
            found = loads(data, trusted_types)
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
    methods = ["predict"]
    methods += ["predict_proba"] if signature.probabilities else []
    methods += ["decision_function"] if signature.task == "outlier-detection" else []
    for method in methods:
        if not callable(getattr(estimator, method, None)):
            raise WrongShape(f"the model has no {method}")
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and width != len(signature.inputs) and signature.layout != "text":
        raise WrongShape(
            f"the model takes {width} columns and the manifest names {len(signature.inputs)}"
        )
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and list(names) != signature.columns:
        raise WrongShape("the model has other columns than the manifest, or in another order")
    if _labels(estimator, signature) != (signature.output_classes or signature.classes):
        raise WrongShape("the model has other classes than the manifest")


def _labels(estimator: Any, signature: Signature) -> list[Label] | list[list[Label]] | None:
    """The labels of an estimator as a manifest has them; those of indicators, where they fit."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or signature.task in {"clustering", "outlier-detection"}:
        return None
    if signature.task == "multi-output-classification":
        return [np.asarray(labels).tolist() for labels in classes]
    if signature.task == "multilabel":
        return signature.classes if len(classes) == len(signature.classes or ()) else []
    return np.asarray(classes).tolist() if np.ndim(classes[0]) == 0 else []
