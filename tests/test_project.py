"""The generated project does what it says: the owner's checks, the engine's, and both wheels."""

import ast
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

import pytest

from . import processes
from .conftest import (
    Render,
    Run,
    add_sample,
    bin_of,
    clean_environment,
    environment_of,
    passed,
    run_tool,
    uv,
)
from .rendering import files

pytestmark = pytest.mark.slow

OWNER_CHECKS = ["ruff check", "ruff format --check", "mypy", "pytest"]
"""What the README tells the owner to run."""

MOST_SECONDS = 30
"""Of a processor, for each of them: twice what the tests should take. The clock on the wall would
show what else the machine does."""

ELSEWHERE = ["http", "process"]
"""Rooms of the engine that run in processes of a service, where coverage does not look: what they
promise is tested there."""

# The engine's tests that ask what the service speaks, whatever that is.
OF_PROTOCOLS = ["test_api_keys", "test_fuzz", "test_imports", "test_openapi", "test_readme"]
SPOKEN = {"none": [], "all": ["test_mlflow", "test_open_inference", "test_vertex"]}


# The owner's


def test_the_checks_of_the_readme_pass_and_are_quick(project: Path, run_in: Run) -> None:
    readme = (project / "README.md").read_text(encoding="utf-8")
    for check in OWNER_CHECKS:
        assert re.search(rf"^uv run {check}\b", readme, re.M), check
        before = seconds_of_children()
        passed(run_in(project, *check.split()))
        assert seconds_of_children() - before < MOST_SECONDS, check


def seconds_of_children() -> float:
    """Seconds of a processor that ended processes of these tests took; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("protocols", SPOKEN)
def test_every_choice_of_protocols_passes_the_checks_that_differ(
    protocols: str, generate: Render, run_in: Run
) -> None:
    project = generate(protocols=protocols)
    for check in OWNER_CHECKS:
        passed(run_in(project, *check.split()))
    for check in ("ruff check", "ruff format --check", "mypy"):
        passed(run_in(project, *check.split(), folder="engine"))
    tests = [f"tests/{name}.py" for name in [*OF_PROTOCOLS, *SPOKEN[protocols]]]
    passed(run_in(project, "pytest", "-q", *tests, folder="engine"))


@pytest.mark.parametrize(
    ("runtime", "lacks"),
    [("onnx", ["sklearn", "skops", "pandas"]), ("python", ["sklearn", "skops", "onnxruntime"])],
)
def test_a_runtime_needs_its_own_libraries_alone(
    runtime: str, lacks: list[str], generate: Render
) -> None:
    """Its project is checked, tested and served in an environment that has no others."""
    project = generate(model_runtime=runtime)
    uv(project, "sync", "--quiet")
    bare = environment_of(project)
    for module in lacks:
        assert run_tool(bare, project, "python", "-c", f"import {module}").returncode, module
    for check in OWNER_CHECKS:
        passed(run_tool(bare, project, *check.split()))
    checked = run_tool(bare, project, "iris-service", "check")
    passed(checked)
    assert checked.stdout.startswith("ok: iris 1 ")
    for protocols in SPOKEN:
        other = generate(model_runtime=runtime, protocols=protocols)
        passed(run_tool(bare, other, "pytest", "-q"))


def test_pre_commit_passes_on_a_fresh_project_and_on_a_large_model(
    project: Path, run_in: Run, tmp_path: Path
) -> None:
    copy = tmp_path / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    (copy / "model" / "large.skops").write_bytes(bytes(6_000_000))
    for command in (["init", "--quiet"], ["add", "--all"]):
        processes.run(["git", *command], cwd=copy, check=True)
    passed(run_in(copy, "pre-commit", "run", "--all-files"))
    (copy / "rows.bin").write_bytes(bytes(6_000_000))
    processes.run(["git", "add", "rows.bin"], cwd=copy, check=True)
    ended = run_in(copy, "pre-commit", "run", "large-files", "--all-files")
    assert ended.returncode == 1
    assert "rows.bin" in ended.stdout


def test_a_long_name_changes_nothing(render: Render, run_in: Run) -> None:
    project = add_sample(render(project_name="a service with a rather long name"))
    passed(run_in(project, "ruff", "format", "--check"))
    passed(run_in(project, "ruff", "check"))
    assert (project / "src" / "a_service_with_a_rather_long_name").is_dir()


# The engine's


def test_the_engines_checks_pass(project: Path, run_in: Run) -> None:
    passed(run_in(project, "ruff", "check", "engine"))
    passed(run_in(project, "ruff", "format", "--check", "engine"))
    passed(run_in(project, "mypy", folder="engine"))


def test_the_engines_tests_pass_and_cover_it(project: Path, run_in: Run) -> None:
    passed(run_in(project, "pytest", "-q", "--cov", "--cov-report=", folder="engine"))
    source = project / "engine" / "src" / "serving_engine"
    omitted = [source / room for room in ELSEWHERE]
    assert all(room.is_dir() for room in omitted)
    patterns = ",".join(f"{room}/*" for room in omitted)
    report = ["report", "--fail-under=90", f"--omit={patterns}"]
    passed(run_in(project, "coverage", *report, folder="engine"))


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


# The border between them


@pytest.fixture(scope="module")
def two_names(generate: Render) -> tuple[Path, Path]:
    """Two projects that differ in all that is free text."""
    return generate(), generate(
        project_name="Zebra Crossing",
        project_slug="quagga",
        description="Counts the stripes of an okapi.",
        author="Grévy",
    )


def test_the_engine_is_the_same_in_every_project(two_names: tuple[Path, Path]) -> None:
    first, second = (files(project / "engine") for project in two_names)
    assert first == second
    for name, content in second.items():
        assert not re.search("zebra|quagga|okapi|grévy", content.decode(), re.I), name
        assert not re.search(r"iris[-_ ]service", content.decode(), re.I), name


def test_the_owner_imports_public_names_of_the_engine_and_nothing_else(project: Path) -> None:
    public = exported(project / "engine" / "src" / "serving_engine" / "__init__.py")
    assert len(public) > 20
    for path in python_files(project / "src", project / "tests"):
        for module, name in imports(path):
            if module.partition(".")[0] == "serving_engine":
                assert module == "serving_engine", f"{path}: {module} is a submodule"
                assert name in public, f"{path}: {name} is not public"


def test_the_engine_imports_nothing_of_the_owners(project: Path) -> None:
    for path in python_files(project / "engine"):
        for module, _ in imports(path):
            assert module.partition(".")[0] != "iris_service", path


def python_files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The absolute imports of a file, anywhere in it: the module, and the name taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((str(node.module), alias.name) for alias in node.names)


def exported(path: Path) -> set[str]:
    """The names in a module's `__all__`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no __all__")


# The wheels


@pytest.fixture(scope="module")
def wheels(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of the service and that of its engine."""
    out = tmp_path_factory.mktemp("wheels")
    for folder in (project, project / "engine"):
        uv(project, "build", "--quiet", "--wheel", "--out-dir", str(out), str(folder))
    service, engine = sorted(out.glob("*.whl"))
    return service, engine


def test_each_wheel_holds_its_package_and_nothing_else(wheels: tuple[Path, Path]) -> None:
    service, engine = (Wheel(path) for path in wheels)
    assert service.top == {"iris_service", "iris_service-0.1.0.dist-info"}
    assert re.match(r"serving-engine\[docs,scikit-learn\] ?>=", service.requires[0])
    assert not [line for line in service.requires[1:] if "extra ==" not in line]
    version = engine.version
    assert engine.top == {"serving_engine", f"serving_engine-{version}.dist-info"}
    assert f"serving_engine-{version}.dist-info/licenses/LICENSE" in engine.names
    assert "serving_engine/py.typed" in engine.names


class Wheel:
    """What is in a wheel."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.names = archive.namelist()
            (metadata,) = [name for name in self.names if name.endswith(".dist-info/METADATA")]
            read = BytesParser().parsebytes(archive.read(metadata))
        self.top = {name.partition("/")[0] for name in self.names}
        self.version = read["Version"]
        self.requires = read.get_all("Requires-Dist", [])


def test_both_wheels_serve_without_the_project(
    wheels: tuple[Path, Path], project: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    uv(tmp_path, "venv", "--quiet", str(environment))
    python = bin_of(environment) / "python"
    processes.run(
        ["uv", "pip", "install", "--quiet", "--python", python, *wheels],
        env=clean_environment(),
        check=True,
    )
    model = Path(shutil.copytree(project / "model", tmp_path / "model"))
    ended = processes.run(
        [bin_of(environment) / "iris-service", "check"],
        cwd=model.parent,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    passed(ended)
    assert ended.stdout.startswith("ok: iris 1 ")
