"""Imports go one way: cli, app, api, dependencies, serving, artifact, then what stands alone."""

import ast
import sys
from pathlib import Path

import pytest

import {{ cookiecutter.__package_name }} as package

SOURCE = Path(package.__file__).parent
LAYERS = ["cli", "cli_model", "packaging", "app", "api", "dependencies", "serving", "artifact"]
GROUND = {"schema", "settings", "errors", "telemetry", "distribution", "transformers"}
FILES = sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it; the package's own as `.name`."""
    found = set()
    depth = len(path.relative_to(SOURCE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {"." + str(name).partition(".")[0] for name in names}
    return found


def place(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    own = place(path)
    inside = {name[1:] for name in imported(path) if name.startswith(".")}
    if own in GROUND:
        assert inside <= GROUND
    elif own in LAYERS:
        assert inside <= GROUND | set(LAYERS[LAYERS.index(own) :])


@pytest.mark.parametrize("layer", ["artifact", "serving", "schema", "telemetry"])
def test_the_engine_does_not_know_fastapi(layer: str) -> None:
    for path in (SOURCE / layer).rglob("*.py"):
        roots = {name.partition(".")[0] for name in imported(path)}
        assert not roots & {"fastapi", "starlette"}, path


def test_the_api_does_not_know_what_runs_the_model() -> None:
    for path in [*(SOURCE / "api").rglob("*.py"), SOURCE / "app.py", SOURCE / "dependencies.py"]:
        roots = {name.partition(".")[0] for name in imported(path)}
        assert not roots & {"sklearn", "skops", "onnxruntime", "joblib"}, path


def test_the_service_never_unpickles() -> None:
    for path in FILES:
        if place(path) == "packaging":
            continue
        roots = {name.partition(".")[0] for name in imported(path)}
        assert not roots & {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}, path


def test_fetch_stands_alone() -> None:
    names = imported(SOURCE / "artifact" / "fetch.py")
    own = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name.partition(".")[0] for name in own} <= {"requests", "rich"}


def test_no_file_is_too_long_to_read() -> None:
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 250]
