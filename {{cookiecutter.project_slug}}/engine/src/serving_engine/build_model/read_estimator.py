"""Reads a fitted estimator from a file, and writes it as a skops file."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from ..model_files.load_errors import LoadError, UntrustedTypes, VersionMismatch
from ..runtimes.scikit_learn import skops_io
from ..runtimes.scikit_learn.loading import parse
from ..runtimes.scikit_learn.trusted_types import check_trusted, is_part_of_a_library
from ..runtimes.versions import LIBRARIES, check_release
from ..text import reason
from .builder import Trust
from .errors import NotPackaged
from .pickles import PICKLES, read_pickle
from .portable import portable
from .rejected_models import (
    BY_A_CLASS,
    cannot_predict,
    unreadable,
    unsupported_suffix,
    wrong_content,
)


def read_estimator(path: Path, trust: Trust) -> Any:
    """Read an estimator from a joblib, pickle or skops file. A pickle may run any code.

    Returns the best estimator of a parameter search. Raises NotPackaged if the file holds nothing
    that can predict, or if another minor release of scikit-learn wrote it.
    """
    if not path.is_file():
        raise NotPackaged(f"{path} is not a file.")
    suffix = path.suffix.lower()
    if suffix not in {*PICKLES, ".skops"}:
        raise NotPackaged(unsupported_suffix(path))
    if problem := wrong_content(path):
        raise NotPackaged(problem)
    estimator = _read_skops(path, trust) if suffix == ".skops" else _read_pickle(path)
    estimator = getattr(estimator, "best_estimator_", estimator)
    if found := cannot_predict(estimator):
        raise NotPackaged(f"{path} holds {found}")
    return estimator


def to_skops(estimator: Any, trust: Trust) -> tuple[bytes, list[str]]:
    """Write an estimator as a skops file; return its bytes and the types that must be trusted.

    Raises NotPackaged if skops fails, or if one of those types is not trusted.
    """
    try:
        with portable(estimator):
            data = skops_io.dumps(estimator)
        types = skops_io.untrusted_types(data)
    except Exception as error:  # there is no list of what skops raises
        raise NotPackaged(
            f"skops, the format that the service reads, cannot hold the model ({reason(error)}). "
            f"Replace the part that it names by another estimator, or {BY_A_CLASS}."
        ) from error
    _check_review(types, trust)
    return data, types


def check_may_be_trusted(types: Sequence[str], transformers: str | None) -> None:
    """Raise NotPackaged if some of the types can never be trusted."""
    try:
        check_trusted(types, transformers)
    except UntrustedTypes as error:
        raise NotPackaged(str(error)) from None


def _check_review(types: Sequence[str], trust: Trust) -> None:
    check_may_be_trusted(types, trust.transformers)
    needed = [n for n in types if n not in trust.types and not is_part_of_a_library(n)]
    if needed and not trust.review(needed):
        flags = " ".join(f"--trust {name}" for name in needed)
        raise NotPackaged(
            "the model holds types that are not of scikit-learn, NumPy or SciPy. Look at what each "
            f"does when it is loaded and when it predicts. Then add: {flags}"
        )


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = read_pickle(path)
        except Exception as error:  # a pickle may raise any exception
            _check_releases(path, caught)
            raise NotPackaged(unreadable(path, error, LIBRARIES)) from error
    _check_releases(path, caught)
    return estimator


def _check_releases(path: Path, caught: Sequence[warnings.WarningMessage]) -> None:
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            try:
                check_release(warning.message.original_sklearn_version)
            except VersionMismatch as error:
                raise NotPackaged(f"{path}: {error}") from None


def _read_skops(path: Path, trust: Trust) -> Any:
    try:
        data = path.read_bytes()
        types = skops_io.untrusted_types(data)
    except Exception as error:  # there is no list of what skops raises
        raise NotPackaged(
            f"{path} is damaged, or not a file of skops ({reason(error)}). Copy it again, or save "
            "the model with skops.io.dump or joblib.dump."
        ) from error
    _check_review(types, trust)
    try:
        return parse(data, types, trust.transformers)
    except VersionMismatch as error:
        raise NotPackaged(f"{path}: {error}") from error
    except LoadError as error:
        raise NotPackaged(f"{path}: {error.problem}.") from error
