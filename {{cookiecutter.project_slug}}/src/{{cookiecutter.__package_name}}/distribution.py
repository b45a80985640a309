"""What the project's pyproject.toml says of it: name, version, summary."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata


@dataclass(frozen=True)
class Distribution:
    """The installed distribution that this package belongs to."""

    name: str
    version: str
    summary: str


def distribution() -> Distribution:
    """Read the metadata of this distribution; a source tree that is not installed has none."""
    package = __package__ or ""
    try:
        found = metadata(package)
    except PackageNotFoundError:
        return Distribution(package.replace("_", "-"), "0", "")
    return Distribution(found["Name"], found["Version"], found["Summary"] or "")
