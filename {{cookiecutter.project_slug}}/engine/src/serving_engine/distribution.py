"""Name, version and summary of an installed distribution, from its metadata."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata


@dataclass(frozen=True)
class Distribution:
    """Name, version and summary of an installed distribution."""

    name: str
    version: str
    summary: str


def describe_distribution(package: str) -> Distribution:
    """Return the metadata of the distribution with the name of a package; `_` and `-` are the same.

    A source tree that is not installed has the version 0 and no summary.
    """
    try:
        fields = metadata(package)
    except PackageNotFoundError:
        return Distribution(package.replace("_", "-"), "0", "")
    return Distribution(fields["Name"], fields["Version"], fields["Summary"] or "")
