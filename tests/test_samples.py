"""The sample model and the bounds of dependencies: facts that stand in two places agree."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from .conftest import ROOT, SAMPLE, Render
from .rendering import PROJECT

ENGINE = ROOT / PROJECT / "engine"

MANIFEST = json.loads((SAMPLE / "manifest.json").read_text(encoding="utf-8"))


def test_the_artifact_is_the_one_that_the_manifest_names() -> None:
    data = (SAMPLE / MANIFEST["artifact"]["file"]).read_bytes()
    assert len(data) == MANIFEST["artifact"]["size"]
    assert hashlib.sha256(data).hexdigest() == MANIFEST["artifact"]["sha256"]


def test_the_hook_pins_the_samples_manifest() -> None:
    digest = hashlib.sha256((SAMPLE / "manifest.json").read_bytes()).hexdigest()
    assert digest in (ROOT / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")


def test_the_engine_allows_the_releases_that_the_sample_was_fitted_with() -> None:
    required = {each.name: each.specifier for each in map(Requirement, dependencies(ENGINE))}
    for library in ("scikit-learn", "skops", "numpy"):
        assert MANIFEST["built_with"][library] in required[library], library


def test_every_dependency_of_the_engine_has_a_floor_and_a_ceiling() -> None:
    by_year = "packaging"  # its releases are named for the year, which promises nothing
    for requirement in dependencies(ENGINE, "test"):
        bounds = r">=[\d.]+" if requirement.startswith(by_year) else r">=[\d.]+,<[\d.]+"
        assert re.fullmatch(rf"[a-z0-9-]+(\[\w+\])?{bounds}(; .+)?", requirement), requirement


def test_a_project_repeats_no_bound_of_the_engine(render: Render) -> None:
    project = render()
    with (project / "engine" / "pyproject.toml").open("rb") as file:
        engine = tomllib.load(file)["project"]
    for requirement in dependencies(project):
        name, extra = re.match(r"([\w-]+)(?:\[(\w+)\])?", requirement).groups()
        assert name == engine["name"], requirement
        assert extra is None or extra in engine["optional-dependencies"], requirement


def dependencies(folder: Path, *but: str) -> list[str]:
    """What a pyproject.toml requires, its extras included, but for some extras."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [r for name, rs in extras if name not in but for r in rs]
