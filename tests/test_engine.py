"""The engine's own tests, in every environment that differs."""

import re
from pathlib import Path

import pytest

from . import processes
from .conftest import OWNER_CHECKS, Render, Run, bin_of, environment_of, passed, run_tool, uv

pytestmark = pytest.mark.slow

ELSEWHERE = ["http", "process"]
"""Rooms of the engine that run in processes of a service, where coverage does not look: what they
promise is tested there."""

# The engine's tests that ask what the service speaks, whatever that is.
OF_PROTOCOLS = ["test_api_keys", "test_fuzz", "test_imports", "test_openapi", "test_readme"]
SPOKEN = {"none": [], "all": ["test_mlflow", "test_open_inference", "test_vertex"]}


def test_the_engines_tests_pass_and_cover_it(project: Path, run_in: Run) -> None:
    passed(run_in(project, "pytest", "-q", "--cov", "--cov-report=", folder="engine"))
    source = project / "engine" / "src" / "serving_engine"
    omitted = [source / room for room in ELSEWHERE]
    assert all(room.is_dir() for room in omitted)
    patterns = ",".join(f"{room}/*" for room in omitted)
    report = ["report", "--fail-under=90", f"--omit={patterns}"]
    passed(run_in(project, "coverage", *report, folder="engine"))


@pytest.mark.parametrize("protocols", SPOKEN)
def test_the_engines_tests_pass_that_ask_what_it_speaks(
    protocols: str, generate: Render, run_in: Run
) -> None:
    project = generate(protocols=protocols)
    tests = [f"tests/{name}.py" for name in [*OF_PROTOCOLS, *SPOKEN[protocols]]]
    passed(run_in(project, "pytest", "-q", *tests, folder="engine"))


@pytest.mark.thorough
def test_all_tests_pass_without_the_hooks_and_without_extras(render: Render) -> None:
    """`--accept-hooks no` prunes nothing and brings no model; `uv sync` brings no pandas."""
    project = render(project_name="Other Name")
    uv(project, "sync", "--quiet")
    bare = environment_of(project)
    assert run_tool(bare, project, "python", "-c", "import pandas").returncode
    passed(run_tool(bare, project, "pytest", "-q", "engine"))
    for check in OWNER_CHECKS:
        passed(run_tool(bare, project, *check.split()))
    ended = run_tool(bare, project, "other-name", "check")
    assert ended.returncode == 3
    assert "model missing" in ended.stderr


@pytest.mark.thorough
def test_models_are_packaged_with_the_oldest_scikit_learn_that_is_allowed(
    project: Path, tmp_path: Path
) -> None:
    bounds = (project / "engine" / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'"scikit-learn>=([0-9]+\.[0-9]+),', bounds)
    uv(tmp_path, "venv", "--quiet", "old")
    python = bin_of(tmp_path / "old") / "python"
    engine = f"{project / 'engine'}[test,package,scikit-learn]"
    processes.run(
        ["uv", "pip", "install", "--quiet", "--python", python, engine]
        + [f"scikit-learn~={oldest}.0"],
        check=True,
    )
    tests = [f"tests/test_{name}.py" for name in ("every_estimator", "tables", "estimator")]
    passed(run_tool(python.parent, project, "pytest", "-q", *tests, folder="engine"))
