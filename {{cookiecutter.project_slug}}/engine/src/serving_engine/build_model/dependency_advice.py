"""Finds the dependencies that a project lacks to serve a model."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..distribution import ENGINE, add_command
from ..model_files.load_errors import LoadError
from ..runtimes.versions import ALWAYS, LIBRARIES, distribution_of


class DependencyMissing(LoadError):
    """The project does not require what the model needs."""


def installed_releases(packages: Sequence[str]) -> dict[str, str]:
    """The installed release of each package, by its import name."""
    distributions = {name: distribution_of(name) for name in packages}
    return {name: version(found) for name, found in distributions.items() if found}


def needed_libraries(trusted_types: Sequence[str], frames: bool) -> list[str]:
    """The packages of `LIBRARIES` that a model needs. frames: whether it takes DataFrames."""
    packages = {name.partition(".")[0] for name in trusted_types}
    if frames:
        packages.add("pandas")
    return [name for name in LIBRARIES if name in packages]


def required_releases(package: str, *, frames: bool) -> dict[str, str]:
    """The installed release of each distribution that the owner's own requires but the engine.

    package: the owner's. frames: whether the model takes DataFrames. These are what a model of the
    owner's code may need.
    """
    required = {name for name in _requirements(package) or {} if name != ENGINE}
    if frames:
        required.add("pandas")
    return installed_releases(sorted(required))


def missing_dependencies(
    built_with: Mapping[str, str], package: str, *, pin: bool = True
) -> list[str]:
    """The commands that add the dependencies which a model needs and the project lacks.

    built_with: of the manifest. package: the owner's; its distribution must require the libraries.
    pin: whether the project lacks a bound if it also allows a later scikit-learn than the model's.
    """
    of_project = _requirements(package)
    if of_project is None:
        return []
    extras = of_project[ENGINE].extras if ENGINE in of_project else set()
    of_engine = _requirements(ENGINE, extras) or {}
    required = {**of_engine, **of_project}
    commands = []
    if "scikit-learn" in built_with:
        major, minor, *_ = map(int, built_with["scikit-learn"].split("."))
        allowed = [
            requirements["scikit-learn"].specifier
            for requirements in (of_engine, of_project)
            if "scikit-learn" in requirements
        ]
        later = f"{major}.{minor + 1}.0"
        if not _in_all(built_with["scikit-learn"], allowed) or (pin and _in_all(later, allowed)):
            commands.append(f"uv add 'scikit-learn~={major}.{minor}.0'")
    for name in built_with.keys() - set(ALWAYS):
        if (distribution_of(name) or name) not in required:
            commands.append(add_command(name, built_with[name]))
    return sorted(commands)


def releases_out_of_bounds(package: str) -> tuple[int, list[str]]:
    """The number of installed releases that have bounds, and a text for each out of its bounds.

    package: the owner's. Bounds are those of its distribution, and the engine's with its extras.
    """
    of_project = _requirements(package) or {}
    extras = of_project[ENGINE].extras if ENGINE in of_project else set()
    of_engine = _requirements(ENGINE, extras) or {}
    checked, outside = set(), []
    for requirement in (*of_engine.values(), *of_project.values()):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            outside.append(f"{requirement.name} is not installed")
            continue
        checked.add(requirement.name)
        if not requirement.specifier.contains(installed, prereleases=True):
            bounds = f"{requirement.name}{requirement.specifier}"
            outside.append(f"{requirement.name} {installed} is installed, not {bounds}")
    return len(checked), outside


def check_dependencies(built_with: Mapping[str, str], package: str) -> None:
    """Raise DependencyMissing if the project lacks a dependency of a model.

    The environment may have the library by chance, as that of `model package` has pandas; the image
    has what the project requires.
    """
    commands = missing_dependencies(built_with, package, pin=False)
    if commands:
        raise DependencyMissing(
            "the model needs what pyproject.toml does not require, so that an image would lack it",
            f"Add it: {'; '.join(commands)}",
        )


def _in_all(release: str, specifiers: Sequence[SpecifierSet]) -> bool:
    return all(release in specifier for specifier in specifiers)


def _requirements(distribution: str, extras: Iterable[str] = ()) -> dict[str, Requirement] | None:
    """The requirements of a distribution with these extras, by name; None if not installed."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return None
    requirements = map(Requirement, lines)
    return {each.name: each for each in requirements if _applies(each, ["", *extras])}


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
