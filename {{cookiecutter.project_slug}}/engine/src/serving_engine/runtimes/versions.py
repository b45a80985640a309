"""Compares the installed libraries with those of a model's manifest, without importing them."""

from collections.abc import Mapping
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    requires,
    version,
)

from packaging.requirements import Requirement

from ..distribution import ENGINE
from ..model_files.load_errors import LibraryMissing, VersionMismatch

ALWAYS = ("python", "scikit-learn", "numpy", "skops")
LIBRARIES = ("pandas", "xgboost", "lightgbm")
"""`built_with` of a manifest names all of ALWAYS, and those of LIBRARIES that the model needs."""


def check_release(built: str | None) -> str | None:
    """Compare the installed scikit-learn with the release that a model was `built` with.

    Returns a log line if only the patch releases differ, else None. Raises VersionMismatch if the
    minor releases differ.
    """
    try:
        installed = version("scikit-learn")
    except PackageNotFoundError:
        raise LibraryMissing("scikit-learn", built or "") from None
    if built is None:
        raise VersionMismatch("the manifest names no scikit-learn release")
    minor = ".".join(built.split(".")[:2])
    if minor != ".".join(installed.split(".")[:2]):
        raise VersionMismatch(
            f"version mismatch: the model was fitted with scikit-learn {built}, "
            f"and {installed} is installed",
            remedy=_remedy(built, minor),
        )
    if built != installed:
        return f"the model was fitted with scikit-learn {built}; {installed} is installed"
    return None


def _remedy(built: str, minor: str) -> str:
    """What to do about a model of another minor release: the engine may not support it."""
    try:
        requirements = [Requirement(line) for line in requires(ENGINE) or ()]
    except PackageNotFoundError:
        requirements = []
    bounds = [each.specifier for each in requirements if each.name == "scikit-learn"]
    if all(built in bound for bound in bounds):
        return (
            f"Install that minor release (uv add 'scikit-learn~={minor}.0'), or fit and package "
            "the model again."
        )
    return (
        f"Fit the model again with the installed release, and package it: this service runs "
        f"scikit-learn {bounds[0]}."
    )


def check_libraries(built_with: Mapping[str, str]) -> None:
    """Check that the model's other libraries are installed, with the same major releases.

    Raises LibraryMissing or VersionMismatch.
    """
    for name, built in built_with.items():
        if name in ALWAYS:
            continue
        distribution = distribution_of(name)
        if distribution is None:
            raise LibraryMissing(name, built)
        installed = version(distribution)
        if installed.partition(".")[0] != built.partition(".")[0]:
            raise VersionMismatch(
                f"version mismatch: the model was packaged with {name} {built}, "
                f"and {installed} is installed",
                remedy=f"Install that release (uv add '{name}=={built}'), "
                "or package the model again.",
            )


def distribution_of(package: str) -> str | None:
    """The installed distribution of a package, or None. That of xgboost may be xgboost-cpu."""
    try:
        version(package)
    except PackageNotFoundError:
        return next(iter(packages_distributions().get(package, [])), None)
    return package
