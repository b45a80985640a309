"""Imports skops without `all_estimators`, and trusts the same public estimators.

During its own import, skops calls `sklearn.utils.all_estimators` for the list of estimators that it
trusts, which imports every module of scikit-learn: a quarter of a second and 12 MB in each process.
Here the list is empty, and each estimator in a file is checked with the rule of `all_estimators`:
it is trusted if it is public.
"""

import importlib
import inspect
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import sklearn.utils
from sklearn.base import BaseEstimator

_NOT_PUBLIC = {"tests", "externals", "conftest", "experimental", "estimator_checks"}
_TYPE = re.compile(rb'"__class__": "(\w+)",\s*"__module__": "(sklearn(?:\.\w+)+)"')


def _import_skops() -> Any:
    all_estimators = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = list
    try:
        import skops.io  # noqa: PLC0415 - while all_estimators is replaced
    finally:
        sklearn.utils.all_estimators = all_estimators
    return skops.io


skops_io = _import_skops()
UntrustedTypesFoundException: type[Exception] = skops_io.exceptions.UntrustedTypesFoundException


def loads(data: bytes, trusted_types: Sequence[str]) -> Any:
    """Load the object in a skops file.

    Raises UntrustedTypesFoundException, and any other exception of skops.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        types = set(_TYPE.findall(archive.read("schema.json")))
    names = {f"{module.decode()}.{name.decode()}" for name, module in types}
    return skops_io.loads(data, trusted=[*trusted_types, *public_estimators(names)])


def dumps(estimator: Any) -> bytes:
    """The bytes of a skops file of an estimator. Raises any exception of skops."""
    data: bytes = skops_io.dumps(estimator)
    return data


def untrusted_types(data: bytes) -> list[str]:
    """The types in a skops file that a manifest must name as trusted."""
    names: list[str] = skops_io.get_untrusted_types(data=data)
    public = public_estimators(names)
    return [name for name in names if name not in public]


def public_estimators(names: Iterable[str]) -> set[str]:
    """The types of `names` that are public estimators of scikit-learn."""
    return {name for name in names if _is_public_estimator(name)}


def _is_public_estimator(name: str) -> bool:
    package, *modules = name.split(".")
    attribute = modules.pop() if modules else ""
    if package != "sklearn" or attribute.startswith("_") or _NOT_PUBLIC & {*modules}:
        return False
    while any(part.startswith("_") for part in modules):
        modules.pop()
    return any(
        _is_estimator(".".join(modules[:end]), attribute, name)
        for end in range(len(modules), 0, -1)
    )


def _is_estimator(module: str, attribute: str, name: str) -> bool:
    try:
        kind = getattr(importlib.import_module(f".{module}", "sklearn"), attribute)
    except (ImportError, AttributeError):
        return False
    if kind is BaseEstimator or not inspect.isclass(kind) or inspect.isabstract(kind):
        return False
    return issubclass(kind, BaseEstimator) and f"{kind.__module__}.{kind.__qualname__}" == name
