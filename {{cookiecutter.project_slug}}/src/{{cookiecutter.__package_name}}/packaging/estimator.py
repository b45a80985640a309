"""Reads a fitted estimator from the file that its owner made."""

import warnings
from pathlib import Path
from typing import Any

from ..errors import UsageError

PICKLES = {".joblib", ".pkl", ".pickle"}


def read_estimator(path: Path) -> Any:
    """Read an estimator from a joblib, pickle or skops file. A pickle runs code of its own.

    Raises UsageError if there is no estimator in it, or if another release wrote it.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    kind = path.suffix.lower()
    if kind not in PICKLES | {".skops"}:
        raise UsageError(f"{path}: unknown kind of file. Use .joblib, .pkl or .skops.")
    from sklearn.exceptions import InconsistentVersionWarning  # noqa: PLC0415 - takes a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            estimator = _read_pickle(path) if kind in PICKLES else _read_skops(path)
    except InconsistentVersionWarning as warning:
        minor = ".".join(warning.original_sklearn_version.split(".")[:2])
        raise UsageError(
            f"{path} was written by scikit-learn {warning.original_sklearn_version}. Install that "
            f"minor (uv add 'scikit-learn~={minor}.0'), or fit the model again."
        ) from None
    except Exception as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
    if not hasattr(estimator, "predict"):
        raise UsageError(f"{path} holds a {type(estimator).__name__}, which cannot predict.")
    return estimator


def _read_pickle(path: Path) -> Any:
    import joblib  # noqa: PLC0415

    return joblib.load(path)


def _read_skops(path: Path) -> Any:
    import skops.io  # noqa: PLC0415

    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
