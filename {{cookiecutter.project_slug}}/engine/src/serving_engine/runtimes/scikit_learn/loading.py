"""Builds an estimator from the bytes of a `.skops` file. Nothing here unpickles.

skops rebuilds objects from a schema of types. It trusts its own list of types, `skops_io.py` adds
the public estimators, and `trusted_types.py` decides which other types a manifest may name.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from ...model_files.load_errors import (
    InvalidArtifact,
    LoadError,
    SignatureMismatch,
    UntrustedTypes,
)
from ...schema.signature import Label, Signature
from ...text import reason
from ..captured_warnings import capture_warnings, install_warning_capture
from ..versions import check_release
from .estimator import ServedEstimator
from .prepare import prepare
from .skops_io import UntrustedTypesFoundException, loads
from .trusted_types import check_trusted

_SYSTEM_LIBRARY = (
    "Install the system library that is missing: LightGBM needs libgomp1 "
    "(`apt-get install libgomp1`)."
)


def wrap_estimator(
    estimator: Any, signature: Signature, *, together: bool = False
) -> ServedEstimator:
    """Prepare an estimator for serving with a signature. This modifies the estimator.

    together: see `ServedEstimator`. Raises LibraryMissing or SignatureMismatch.
    """
    try:
        _check_shape(estimator, signature)
        prepare(estimator, names=signature.layout == "frame")
        return ServedEstimator(estimator, signature, together=together)
    except LoadError:
        raise
    except Exception as error:  # a crafted file may hold an estimator in any state
        raise SignatureMismatch(f"the model is not a valid estimator ({reason(error)})") from error


def parse(data: bytes, trusted_types: Sequence[str], transformers: str | None) -> Any:
    """Parse a skops file into an estimator.

    trusted_types: names of types in the manifest. transformers: name of the module whose classes
    may be trusted. Raises UntrustedTypes, InvalidArtifact or VersionMismatch.
    """
    check_trusted(trusted_types, transformers)
    install_warning_capture()
    warnings.filterwarnings("always", category=InconsistentVersionWarning)
    with capture_warnings() as captured:
        try:
            estimator = loads(data, trusted_types)
        except UntrustedTypesFoundException as error:
            raise UntrustedTypes(
                "the artifact holds types that the manifest does not trust: "
                f"{str(error).splitlines()[0].partition(': ')[2]}",
                remedy="Review them and package the model again.",
            ) from None
        except Exception as error:  # there is no list of what skops raises
            remedy = _SYSTEM_LIBRARY if ".so" in str(error) else None
            raise InvalidArtifact(
                f"the artifact cannot be parsed ({reason(error)})", remedy
            ) from error
    for warning in captured:
        if isinstance(warning, InconsistentVersionWarning):
            check_release(str(warning.original_sklearn_version))
    return estimator


def _check_shape(estimator: Any, signature: Signature) -> None:
    methods = ["predict"]
    if signature.probabilities:
        methods.append("predict_proba")
    if signature.task == "outlier-detection":
        methods.append("decision_function")
    for method in methods:
        if not callable(getattr(estimator, method, None)):
            raise SignatureMismatch(f"the model has no method {method}")
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and width != len(signature.inputs) and signature.layout != "text":
        raise SignatureMismatch(
            f"column mismatch: the model takes {width} columns, "
            f"and the manifest has {len(signature.inputs)}"
        )
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and list(names) != signature.columns:
        raise SignatureMismatch(
            "column mismatch: the model has other columns than the manifest, or in another order"
        )
    if _classes(estimator, signature) != (signature.output_classes or signature.classes):
        raise SignatureMismatch("class mismatch: the model has other classes than the manifest")


def _classes(estimator: Any, signature: Signature) -> list[Label] | list[list[Label]] | None:
    """The classes of an estimator in the form of a manifest.

    A multilabel classifier has no names of its indicators: they are those of the signature if their
    number is right.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None or signature.task in {"clustering", "outlier-detection"}:
        return None
    if signature.task == "multi-output-classification":
        return [np.asarray(labels).tolist() for labels in classes]
    if signature.task == "multilabel":
        return signature.classes if len(classes) == len(signature.classes or ()) else []
    return np.asarray(classes).tolist() if np.ndim(classes[0]) == 0 else []
