"""The generated project does what it says: its own checks, its own tests, a real service."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from .conftest import (
    Render,
    Run,
    add_sample,
    environment_of,
    passed,
    run_tool,
    uv,
)

pytestmark = pytest.mark.slow

# Runs in processes of the service only, where coverage does not look; tests there go by promise.
ELSEWHERE = ",".join(
    f"*/serving/{name}.py"
    for name in (
        *("bell", "connection", "crew", "exchange", "forked", "head", "loader", "memory", "ports"),
        *("processes", "reload", "server", "spawned", "supervisor", "watch", "worker"),
    )
)


def test_formatter_linter_and_types_have_nothing_to_say(project: Path, run_in: Run) -> None:
    passed(run_in(project, "ruff", "format", "--check"))
    passed(run_in(project, "ruff", "check"))
    passed(run_in(project, "mypy"))


def test_its_own_tests_pass_and_cover_it(project: Path, run_in: Run) -> None:
    passed(run_in(project, "coverage", "run", "-m", "pytest", "-q", "--numprocesses=0"))
    passed(run_in(project, "coverage", "report", "--fail-under=90", f"--omit={ELSEWHERE}"))


def test_its_own_tests_pass_without_the_hooks_and_without_extras(
    render: Render, run_in: Run
) -> None:
    """`--accept-hooks no`: nothing pruned, no model; the tests fit one of their own. They run in
    what `uv sync` installs."""
    project = render(project_name="Other Name")
    passed(run_in(project, "ruff", "format", "--check"))
    passed(run_in(project, "ruff", "check"))
    uv(project, "sync", "--quiet")
    bare = environment_of(project)
    assert run_tool(bare, project, "python", "-c", "import pandas").returncode
    passed(run_tool(bare, project, "pytest", "-q"))
    ended = run_in(project, "python", "-m", "other_name", "check")
    assert ended.returncode == 3
    assert "model missing" in ended.stderr


def test_pre_commit_passes_on_a_fresh_project(project: Path, run_in: Run, tmp_path: Path) -> None:
    copy = tmp_path / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=copy, check=True)
    passed(run_in(copy, "pre-commit", "run", "--all-files"))


def test_the_wheel_holds_the_package_and_nothing_else(project: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, project], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"iris_service", "iris_service-0.1.0.dist-info"}


def test_a_long_name_changes_nothing(render: Render, run_in: Run) -> None:
    project = add_sample(render(project_name="a service with a rather long name"))
    passed(run_in(project, "ruff", "format", "--check"))
    passed(run_in(project, "ruff", "check"))
    assert (project / "src" / "a_service_with_a_rather_long_name").is_dir()
