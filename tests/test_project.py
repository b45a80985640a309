"""The generated project does what it says: the owner's checks, the border, and both wheels."""

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
    OWNER_CHECKS,
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

MOST_SECONDS = 30
"""Of a processor, for each of them: twice what the tests should take. The clock on the wall would
show what else the machine does."""

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


@pytest.mark.parametrize(
    ("runtime", "lacks"),
    [("onnx", ["sklearn", "skops", "pandas"]), ("python", ["sklearn", "skops", "onnxruntime"])],
)
def test_a_runtime_needs_its_own_libraries_alone(
    runtime: str, lacks: list[str], generate: Render
) -> None:
    """Its project is checked and tested in an environment that has no others."""
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
