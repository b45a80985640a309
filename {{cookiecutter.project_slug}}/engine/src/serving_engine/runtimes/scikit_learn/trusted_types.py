"""The types and functions that a manifest may name as trusted, besides those that skops trusts.

A manifest alone cannot make a type trusted. It must be one of three kinds: a part of scikit-learn,
NumPy or SciPy that holds data or computes; a type in `REVIEWED`; or what the owner's
`transformers.py` defines, or lists in its `TRUSTED`.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from types import FunctionType

import numpy as np
from scipy.sparse import sparray, spmatrix

from ...model_files.load_errors import UntrustedTypes
from ...text import reason

REVIEWED = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",  # its function and arguments are checked like all others
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
        *(f"builtins.{name}" for name in ("abs", "len", "max", "min", "round", "sum")),
    }
)
"""Types that skops 0.16 reports for models of scikit-learn, XGBoost and LightGBM, beside those of
scikit-learn itself: plain data if the artifact comes from the owner of the service, and boosters,
which their libraries read from their own formats. None can run code that the artifact brings."""

_NUMPY_FUNCTIONS = frozenset(
    {
        *("all", "amax", "amin", "any", "argmax", "argmin", "argsort", "around", "asarray"),
        *("atleast_1d", "atleast_2d", "average", "clip", "column_stack", "concatenate"),
        *("cumprod", "cumsum", "diff", "dot", "einsum", "fix", "flip", "hstack", "interp"),
        *("isclose", "max", "mean", "median", "min", "nan_to_num", "nanmax", "nanmean"),
        *("nanmedian", "nanmin", "nanstd", "nansum", "nanvar", "prod", "ptp", "ravel", "real"),
        *("reshape", "round", "searchsorted", "sort", "squeeze", "stack", "std", "sum"),
        *("swapaxes", "tile", "transpose", "var", "vstack", "where"),
    }
)
"""Functions of NumPy that compute and do nothing else, beside its ufuncs. Those that read, write or
call what they are given, such as `load`, `save`, `fromfile` and `vectorize`, are none of them."""

_TEXT_FUNCTIONS = "serving_engine.runtimes.scikit_learn.text_functions"
_MODULES_WITH_FUNCTIONS = (
    "sklearn.cluster._kmeans",
    "sklearn.feature_selection",
    "sklearn.gaussian_process",
    "sklearn.metrics",
    "sklearn.preprocessing",
)
"""Modules whose functions compute, and do nothing else."""
_NO_MODELS = frozenset(
    {
        "_build_utils",
        "_plot",
        "callback",
        "conftest",
        "datasets",
        "experimental",
        "externals",
        "inspection",
        "tests",
        "utils",
    }
)
"""Parts of scikit-learn that no fitted model needs: some read files, download, or run code."""


def check_trusted(names: Iterable[str], transformers: str | None) -> None:
    """Raise UntrustedTypes if a manifest names types as trusted that may not be.

    transformers: name of the owner's module, whose types may be trusted.
    """
    refused = [
        name
        for name in names
        if not is_part_of_a_library(name) and not is_owners(name, transformers)
    ]
    if refused:
        raise UntrustedTypes(
            f"{' and '.join(refused)} may not be part of a model",
            remedy=" ".join(advice(name, transformers) for name in refused),
        )


def advice(name: str, transformers: str | None) -> str:
    """Return what the owner of a model can do about a type that is not trusted: a sentence."""
    module, _, attribute = name.rpartition(".")
    own = transformers or "transformers.py"
    if attribute == "<lambda>":
        return f"A lambda has no name to be loaded by: define a function in {own} instead."
    if module == transformers:
        return f"{own} does not define {attribute}: define it there."
    if module.partition(".")[0] in {"__main__", (transformers or "").partition(".")[0]}:
        return f"Define {attribute} in {own}, and fit the model with what that module defines."
    if module.partition(".")[0] in {"builtins", "numpy", "operator", "os", "posix", "sklearn"}:
        return f"Instead of {name}, use a function in {own} that calls what you need of it."
    return (
        f"If you reviewed {name}, what it does when it is loaded and when it predicts, list its "
        f"name in TRUSTED in {own}."
    )


@cache
def is_part_of_a_library(name: str) -> bool:
    """Whether a type or function is one of `REVIEWED`, or of scikit-learn, NumPy or SciPy and does
    no more than hold data and compute."""
    library, _, attribute = name.partition(".")
    if name in REVIEWED:
        return True
    if library == "numpy":
        return _is_numeric(getattr(np, attribute, None), attribute)
    module, _, attribute = name.rpartition(".")
    if library == "scipy":
        return _is_of_scipy(module, attribute)
    if module == _TEXT_FUNCTIONS:
        return _defines(module, attribute, FunctionType)
    return library == "sklearn" and _is_part_of_a_model(module, attribute)


def _is_part_of_a_model(module: str, attribute: str) -> bool:
    if _NO_MODELS & {*module.split(".")}:
        return False
    functions = any(f"{module}.".startswith(f"{each}.") for each in _MODULES_WITH_FUNCTIONS)
    return _defines(module, attribute, type) or (
        functions and _defines(module, attribute, FunctionType)
    )


def _is_of_scipy(module: str, attribute: str) -> bool:
    """Whether it is a ufunc of scipy.special, or a type of sparse matrices."""
    if module == "scipy.special":
        return isinstance(_find(module, attribute), np.ufunc)
    sparse = module.startswith("scipy.sparse._") and _find(module, attribute)
    return isinstance(sparse, type) and issubclass(sparse, spmatrix | sparray)


def _is_numeric(found: object, attribute: str) -> bool:
    if isinstance(found, type):
        return issubclass(found, np.generic)
    return isinstance(found, np.ufunc) or attribute in _NUMPY_FUNCTIONS


def _defines(module: str, attribute: str, kind: type) -> bool:
    """Whether a module defines a type or function; one that it only imports does not count."""
    found = _find(module, attribute)
    return (
        isinstance(found, kind)
        and getattr(found, "__module__", None) == module
        and getattr(found, "__name__", None) == attribute
    )


def _find(module: str, attribute: str) -> object:
    try:
        return getattr(import_module(module), attribute, None)
    except ImportError:
        return None


def is_owners(name: str, transformers: str | None) -> bool:
    """Whether the owner's module defines a type or function, or lists it in its `TRUSTED`.

    Raises UntrustedTypes if the module cannot be imported.
    """
    if transformers is None:
        return False
    try:
        own = import_module(transformers)
    except Exception as error:
        raise UntrustedTypes(
            f"{transformers} cannot be imported ({reason(error)})", remedy="Fix the module."
        ) from error
    module, _, attribute = name.rpartition(".")
    defined = module == transformers and _defines(module, attribute, object)
    return name in getattr(own, "TRUSTED", ()) or (
        defined and isinstance(getattr(own, attribute), type | FunctionType)
    )
