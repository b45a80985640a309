"""What the project's pyproject.toml must say for a model to be served, and does not."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ..artifact.runtimes.scikit_learn import ALWAYS, LIBRARIES, distribution_of


def releases(packages: Sequence[str]) -> dict[str, str]:
    """The installed releases of these packages, by the names that they are imported by."""
    return {name: version(found) for name in packages if (found := distribution_of(name))}


def libraries(trusted_types: Sequence[str], layout: str) -> list[str]:
    """The packages that a model needs besides those that every model needs."""
    tops = {name.partition(".")[0] for name in trusted_types}
    tops |= {"pandas"} if layout == "frame" else set()
    return [name for name in LIBRARIES if name in tops]


def advice(built_with: Mapping[str, str]) -> list[str]:
    """The commands that make the project's dependencies those of the model; none if they are."""
    asked = _requirements()
    commands = []
    pinned = asked.get("scikit-learn")
    release = built_with["scikit-learn"]
    if pinned is not None and release not in pinned.specifier:
        minor = ".".join(release.split(".")[:2])
        commands.append(f"uv add 'scikit-learn~={minor}.0'")
    further = built_with.keys() - set(ALWAYS)
    for name in further:
        distribution = distribution_of(name) or name
        if asked and distribution not in asked:
            major = built_with[name].partition(".")[0]
            commands.append(f"uv add '{distribution}>={built_with[name]},<{int(major) + 1}'")
    return sorted(commands)


def _requirements() -> dict[str, Requirement]:
    """What this distribution needs without any extra, by name; empty if it is not installed."""
    try:
        lines = requires(__package__.partition(".")[0]) or []
    except PackageNotFoundError:
        return {}
    found = [Requirement(line) for line in lines if "extra ==" not in line]
    return {requirement.name: requirement for requirement in found}
