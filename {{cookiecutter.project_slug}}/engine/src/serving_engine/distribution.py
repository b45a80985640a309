"""Metadata of installed distributions, what serves a model, and the command that adds one."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata

from .template_record import served_record

ENGINE = "serving-engine"
EXTRAS = {
    "joblib": "scikit-learn",
    "lightgbm": "lightgbm",
    "onnx": "convert",
    "onnxruntime": "onnx",
    "pandas": "frame",
    "pyarrow": "package",
    "scikit-learn": "scikit-learn",
    "scipy": "scikit-learn",
    "skl2onnx": "convert",
    "sklearn": "scikit-learn",
    "skops": "scikit-learn",
    "xgboost": "xgboost",
}
"""The extra of the engine that brings a package which some models need."""


def add_command(package: str, release: str = "") -> str:
    """The command that adds a library to a project.

    release: the oldest that will do, if known. The engine's own extra decides for a package that
    one brings: its bounds are those that the tests have passed on.
    """
    if package in EXTRAS:
        return f"uv add '{ENGINE}[{EXTRAS[package]}]'"
    if not release:
        return f"uv add '{package}'"
    return f"uv add '{package}>={release},<{int(release.partition('.')[0]) + 1}'"


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


def engine_and_template() -> dict[str, str]:
    """The versions of the engine and of the template, as fields of a line of the log.

    `template` has the commit too; it is missing where nothing is recorded.
    """
    versions = {"engine": describe_distribution(ENGINE).version}
    record = served_record()
    return versions if record is None else {**versions, "template": record.short}
