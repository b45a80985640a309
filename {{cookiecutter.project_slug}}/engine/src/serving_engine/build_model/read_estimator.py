"""Reads a fitted estimator from a file, and writes it as a skops file."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from sklearn.exceptions import InconsistentVersionWarning

from ..errors import UsageError
from ..model_files.load_errors import LoadError, UntrustedTypes, VersionMismatch
from ..runtimes.scikit_learn import skops_io
from ..runtimes.scikit_learn.loading import parse
from ..runtimes.scikit_learn.trusted_types import check_trusted, is_part_of_a_library
from ..runtimes.scikit_learn.versions import LIBRARIES, check_release
from ..text import one_line, reason
from .portable import portable
from .rejected_models import cannot_predict, unreadable, unsupported_suffix, wrong_content

logger = logging.getLogger(__name__)

PICKLES = {".joblib", ".pkl", ".pickle"}


@dataclass(frozen=True)
class Trust:
    """The types that the owner of a model trusts, besides those that skops trusts by itself.

    types: names of reviewed types. transformers: name of the module whose classes may be trusted.
    review: called with the names of other types; returns whether the owner trusts them.
    """

    types: Sequence[str] = ()
    transformers: str | None = None
    review: Callable[[Sequence[str]], bool] = lambda _: False


class NotPackaged(UsageError):
    """No model can be built from the file. `str()` is one printable line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text, most=4000))


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
            "Replace the part that it names by another estimator."
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


def warn_of_pickle(path: Path) -> None:
    """Log a warning that reading a pickle may run any code."""
    logger.warning(one_line(f"reading {path} runs the code in it: package only your own files"))


def _read_pickle(path: Path) -> Any:
    warn_of_pickle(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
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
