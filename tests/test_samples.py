"""The sample models and the bounds of dependencies: facts that stand in two places agree."""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from .conftest import ROOT, Render
from .rendering import PROJECT

ENGINE = ROOT / PROJECT / "engine"
RUNTIMES = sorted(path.name for path in (ROOT / "samples").iterdir() if path.is_dir())


def manifest(runtime: str) -> Any:
    path = ROOT / "samples" / runtime / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_files_are_those_that_the_manifest_names(runtime: str) -> None:
    artifact = manifest(runtime)["artifact"]
    records = artifact.get("files") or [artifact]
    for record in records:
        data = (ROOT / "samples" / runtime / record["file"]).read_bytes()
        assert len(data) == record["size"]
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
    names = {path.name for path in (ROOT / "samples" / runtime).iterdir()}
    assert names == {"manifest.json", *(record["file"] for record in records)}


def test_there_is_a_sample_for_every_runtime() -> None:
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    assert sorted(questions["model_runtime"]) == RUNTIMES


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_engine_allows_the_releases_that_a_sample_was_made_with(runtime: str) -> None:
    required = {each.name: each.specifier for each in map(Requirement, dependencies(ENGINE))}
    built_with = manifest(runtime)["built_with"]
    assert {"scikit-learn", "onnxruntime", "numpy"} & built_with.keys()
    for library in built_with.keys() - {"python"}:
        assert built_with[library] in required[library], library


def test_every_dependency_of_the_engine_has_a_floor_and_a_ceiling() -> None:
    by_year = "packaging"  # its releases are named for the year, which promises nothing
    for requirement in dependencies(ENGINE, "test"):
        if requirement.startswith("serving-engine["):  # extras that are part of another
            continue
        bounds = r">=[\d.]+" if requirement.startswith(by_year) else r">=[\d.]+,<[\d.]+"
        assert re.fullmatch(rf"[a-z0-9-]+(\[[\w,]+\])?{bounds}(; .+)?", requirement), requirement


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_project_repeats_no_bound_of_the_engine(runtime: str, render: Render) -> None:
    project = render(model_runtime=runtime)
    with (project / "engine" / "pyproject.toml").open("rb") as file:
        engine = tomllib.load(file)["project"]
    for requirement in map(Requirement, dependencies(project)):
        assert requirement.name == engine["name"], requirement
        assert requirement.extras <= engine["optional-dependencies"].keys(), requirement


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_project_requires_what_runs_its_model_and_no_more(runtime: str, render: Render) -> None:
    settings = tomllib.loads((render(model_runtime=runtime) / "pyproject.toml").read_text())
    (requirement,) = map(Requirement, settings["project"]["dependencies"])
    assert requirement.extras == {"docs", runtime} - {"python"}
    engine = tomllib.loads((ENGINE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = {Requirement(line).name for line in engine["dependencies"]}
    assert not always & {"scikit-learn", "skops", "joblib", "scipy", "pandas", "onnxruntime"}


def dependencies(folder: Path, *but: str) -> list[str]:
    """What a pyproject.toml requires, its extras included, but for some extras."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [r for name, rs in extras if name not in but for r in rs]
