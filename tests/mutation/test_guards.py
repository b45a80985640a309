"""Break one guard in a rendered project; its own tests must fail. A test that passes with the
guard broken would let somebody remove it."""

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .. import processes
from ..conftest import Render, add_sample, clean_environment, passed, source_of
from .breaking import NotOnce, Sources
from .guards import GUARDS, Guard

# Where a rendered project has its packages, and the tests that guards name.
SOURCES = ["src/iris_service", "engine/src/serving_engine"]
TESTS = ["tests", "engine/tests"]

PATIENCE = 180
FAILED = 1  # pytest: tests were collected, ran, and some failed


@pytest.fixture(scope="session")
def whole(render: Render) -> Path:
    """The default project with its model, rendered without hooks, and without `model.py`, which is
    of another runtime."""
    project = add_sample(render())
    (project / "src" / "iris_service" / "model.py").unlink()
    return project


@pytest.fixture(scope="session")
def sources(whole: Path) -> Sources:
    """The definitions of that project."""
    return Sources(whole / folder for folder in SOURCES)


def test_no_two_guards_have_one_name() -> None:
    names = [guard.name for guard in GUARDS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_where_it_is_named(guard: Guard, whole: Path, sources: Sources) -> None:
    path, text = break_guard(guard, sources)
    compile(text, path, "exec")
    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(path.read_text(encoding="utf-8")))
    assert files_of(guard, whole)


@pytest.mark.slow
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_broken_guard_is_noticed(
    guard: Guard, whole: Path, sources: Sources, environment: Path, tmp_path: Path
) -> None:
    project = tmp_path / whole.name
    shutil.copytree(whole, project)
    path, text = break_guard(guard, sources)
    (project / path.relative_to(whole)).write_text(text, encoding="utf-8")
    printed = ""
    for folder in TESTS:  # two suites, each with settings of its own
        tests = [path for path in files_of(guard, project) if Path(path).parent == Path(folder)]
        if tests:
            ended = run_tests(environment, project, tests)
            printed += ended.stdout + ended.stderr
            assert "error during collection" not in printed
            if ended.returncode == FAILED:
                return
    pytest.fail(f"not noticed:\n{printed[-4000:]}")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for guard in GUARDS for name in guard.tests}))
def test_nothing_is_noticed_while_no_guard_is_broken(
    name: str, whole: Path, environment: Path
) -> None:
    passed(run_tests(environment, whole, [file_of(name, whole)]))


def run_tests(
    environment: Path, project: Path, tests: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run test files of a project until one fails; `tests` are paths from the project's folder."""
    return processes.run(
        [environment / "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests],
        cwd=project,
        env=clean_environment(
            PYTHONPATH=source_of(project),
            PYTHONDONTWRITEBYTECODE="1",
            PATH=f"{environment}{os.pathsep}{os.environ['PATH']}",
        ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def break_guard(guard: Guard, sources: Sources) -> tuple[Path, str]:
    """The file that the guard is in, and its text with the guard broken."""
    try:
        definition = sources.find(guard.definition, guard.module)
        return definition.module.path, guard.broken(definition)
    except NotOnce as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def files_of(guard: Guard, project: Path) -> list[str]:
    """The files of the guard's tests, as paths from the project's folder."""
    return [file_of(name, project) for name in guard.tests]


def file_of(name: str, project: Path) -> str:
    """The one test file of this name, as a path from the project's folder."""
    paths = [f"{folder}/{name}.py" for folder in TESTS]
    here = [path for path in paths if (project / path).exists()]
    if len(here) != 1:
        pytest.fail(f"{name}.py is in {here}, and should be in one of {TESTS}", pytrace=False)
    return here[0]
