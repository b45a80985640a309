"""Reads a fitted estimator from the file that its owner made, and writes it as a skops file."""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
from sklearn.exceptions import InconsistentVersionWarning

from ..artifact.refusals import OtherRelease, Refusal, UntrustedTypes, one_line, reason
from ..artifact.runtimes import scikit_learn, skops_files
from ..artifact.runtimes.trust import check_trusted
from ..errors import UsageError

logger = logging.getLogger(__name__)

PICKLES = {".joblib", ".pkl", ".pickle"}

Review = Callable[[Sequence[str]], bool]
"""Asked whether types may be trusted."""


class NotPackaged(UsageError):
    """Why a file does not become a model, in one printable line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text, most=4000))


def read_estimator(path: Path, trusted_types: Sequence[str], review: Review) -> Any:
    """Read an estimator from a joblib, pickle or skops file. A pickle runs code of its own.

    trusted_types: what a skops file may hold besides what skops trusts. Of a search for
    parameters it is the best estimator that counts.
    Raises NotPackaged if the file holds nothing that can predict, or if another minor release of
    scikit-learn wrote it.
    """
    if not path.is_file():
        raise NotPackaged(f"there is no file {path}.")
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        estimator = _read_pickle(path)
    elif suffix == ".skops":
        estimator = _read_skops(path, trusted_types, review)
    else:
        raise NotPackaged(f"{path}: unknown kind of file. Use .joblib, .pkl or .skops.")
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, type) or not callable(getattr(estimator, "predict", None)):
        raise NotPackaged(f"{path} holds a {type(estimator).__name__}, which cannot predict.")
    return estimator


def to_skops(
    estimator: Any, trusted_types: Sequence[str], review: Review
) -> tuple[bytes, list[str]]:
    """Write an estimator as a skops file; return its bytes and the types it needs trust in.

    Raises NotPackaged if that cannot be done, or if `trusted_types` lacks one of those types and
    the review does not admit it.
    """
    try:
        data = skops_files.dumps(estimator)
        types = skops_files.untrusted_types(data)
    except Exception as error:  # there is no list of what skops raises
        raise NotPackaged(f"the model cannot be written as skops ({reason(error)}).") from error
    _check_review(types, trusted_types, review)
    return data, types


def check_may_be_trusted(types: Sequence[str]) -> None:
    """Raises NotPackaged at the first type that this service trusts under no circumstances."""
    try:
        check_trusted(types)
    except UntrustedTypes as error:
        raise NotPackaged(str(error)) from None


def _check_review(types: Sequence[str], trusted_types: Sequence[str], review: Review) -> None:
    check_may_be_trusted(types)
    needed = [name for name in types if name not in trusted_types]
    if needed and not review(needed):
        flags = " ".join(f"--trust {name}" for name in needed)
        raise NotPackaged(f"the model holds types that need your review; then add: {flags}")


def warn_of_pickle(path: Path) -> None:
    """Say what reading a pickle means."""
    logger.warning(one_line(f"reading {path} runs whatever code is in it: package only your own"))


def _read_pickle(path: Path) -> Any:
    warn_of_pickle(path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
        except ModuleNotFoundError as error:
            if error.name not in scikit_learn.LIBRARIES:
                raise NotPackaged(_unreadable(path, error)) from error
            raise NotPackaged(f"{path} needs {error.name}: `uv add {error.name}`.") from error
        except Exception as error:  # a pickle raises what it likes
            _check_releases(path, warned)
            raise NotPackaged(_unreadable(path, error)) from error
    _check_releases(path, warned)
    return estimator


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be read ({reason(error)}). Read it where it was written, or fit "
        "again here; classes of your own must be in transformers.py."
    )


def _check_releases(path: Path, warned: Sequence[warnings.WarningMessage]) -> None:
    for warning in warned:
        if isinstance(warning.message, InconsistentVersionWarning):
            try:
                scikit_learn.check_release(warning.message.original_sklearn_version)
            except OtherRelease as error:
                raise NotPackaged(f"{path}: {error}") from None


def _read_skops(path: Path, trusted_types: Sequence[str], review: Review) -> Any:
    try:
        data = path.read_bytes()
        types = skops_files.untrusted_types(data)
    except Exception as error:  # there is no list of what skops raises
        raise NotPackaged(f"{path} cannot be read ({reason(error)}).") from error
    _check_review(types, trusted_types, review)
    try:
        return scikit_learn.parse(data, types)
    except OtherRelease as error:
        raise NotPackaged(f"{path}: {error}") from error
    except Refusal as error:
        raise NotPackaged(f"{path}: {error.problem}.") from error
