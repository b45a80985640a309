"""Break one guard in a rendered project; its own tests must fail. A test that passes with the
guard broken would let somebody remove it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import Render, add_sample, clean_environment
from .guards import GUARDS, Guard

pytestmark = pytest.mark.slow

PATIENCE = 180
FAILED = 1  # pytest: tests were collected, ran, and some failed


@pytest.fixture(scope="session")
def whole(render: Render) -> Path:
    """The default project with its model, rendered without hooks."""
    return add_sample(render())


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_broken_guard_is_noticed(
    guard: Guard, whole: Path, environment: Path, tmp_path: Path
) -> None:
    project = tmp_path / whole.name
    shutil.copytree(whole, project)
    source = project / "src" / "iris_service" / guard.file
    text = source.read_text(encoding="utf-8")
    assert text.count(guard.before) == 1, f"{guard.file} has changed: {guard.before!r}"
    source.write_text(text.replace(guard.before, guard.after), encoding="utf-8")
    ended = subprocess.run(
        [environment / "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *guard.tests],
        cwd=project,
        env=clean_environment(
            PYTHONPATH=str(project / "src"),
            PYTHONDONTWRITEBYTECODE="1",
            PATH=f"{environment}{os.pathsep}{os.environ['PATH']}",
        ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == FAILED, f"not noticed:\n{ended.stdout[-3000:]}{ended.stderr[-1000:]}"
    assert "error during collection" not in ended.stdout
