"""The rooms of the engine: imports go one way, from top to bottom, and each room knows its own."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import serving_engine

SOURCE = Path(serving_engine.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

FOUNDATION = {
    "asgi",
    "blas_threads",
    "distribution",
    "errors",
    "heap",
    "memory",
    "private_apis",
    "service",
    "setting_sources",
    "setting_types",
    "settings",
    "telemetry",
    "template_record",
    "text",
}
"""Rooms and modules that any other may import."""

MAY_IMPORT = {
    "cli": {"build_model", "process", "inference", "runtimes", "model_files", "schema"},
    "application": {"protocols", "web", "inference", "runtimes", "model_files", "schema"},
    "build_model": {"runtimes", "model_files", "schema"},
    "protocols": {"web", "inference", "schema"},
    "web": {"inference", "schema"},
    "process": {"http", "inference", "runtimes", "model_files", "schema"},
    "http": set(),
    "inference": {"runtimes", "schema"},
    "runtimes": {"model_files", "schema"},
    "model_files": {"schema"},
    "schema": set(),
}
"""What each room may import besides itself and the foundation."""


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, by their full names."""
    package = ["serving_engine", *path.relative_to(SOURCE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parts = [*base, *([node.module] if node.module else [])]
            found |= {".".join([*parts, alias.name]) for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imported(path))
    return {name[1] for name in names if name[0] == "serving_engine" and len(name) > 1}


def distributions(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_what_it_may(path: Path) -> None:
    own = room(path)
    if own == "__init__":
        return
    allowed = {own} | FOUNDATION
    if own not in FOUNDATION:
        allowed |= MAY_IMPORT[own]
    assert rooms_imported(path) <= allowed


def test_every_room_is_in_the_table() -> None:
    rooms = {room(path) for path in FILES}
    assert rooms == {*FOUNDATION, *MAY_IMPORT, "__init__"}
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_modules_do_not_import_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    modules = {module_name(path): path for path in FILES}
    for name, path in modules.items():
        if name == "serving_engine":
            continue
        targets = imported_at_the_top(path)
        graph[name] = {target for target in targets if target in modules} - {name}
    assert list(TopologicalSorter(graph).static_order())


def imported_at_the_top(path: Path) -> set[str]:
    """Modules that are imported when a file is; with `from . import x`, that is x."""
    names = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["serving_engine", *path.relative_to(SOURCE).parent.parts]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(package[: len(package) - node.level + 1])
            names.add(f"{base}.{node.module}" if node.module else base)
            names |= {f"{base}.{alias.name}" for alias in node.names if not node.module}
    return names


def module_name(path: Path) -> str:
    parts = ["serving_engine", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", ["http", "inference", "runtimes", "model_files", "schema"])
def test_what_is_below_the_web_does_not_know_fastapi(name: str) -> None:
    for path in (SOURCE / name).rglob("*.py"):
        assert not distributions(path) & {"fastapi", "starlette"}, path


def test_only_runtimes_and_build_model_know_what_runs_a_model() -> None:
    for path in FILES:
        if room(path) not in {"runtimes", "build_model"}:
            assert not distributions(path) & {"sklearn", "skops", "onnxruntime", "joblib"}, path


def test_the_service_never_unpickles() -> None:
    for path in FILES:
        if room(path) != "build_model":
            pickles = {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
            assert not distributions(path) & pickles, path


@pytest.mark.parametrize("file", ["model_files/download.py", "template_record.py"])
def test_what_the_hook_runs_imports_nothing_of_the_package(file: str) -> None:
    """The template's hook runs it by its path."""
    names = distributions(SOURCE / file)
    assert names - sys.stdlib_module_names <= {"requests", "rich"}
    assert not rooms_imported(SOURCE / file)


def test_the_engine_imports_no_code_of_a_service() -> None:
    known = sys.stdlib_module_names | required_modules() | {"serving_engine"}
    for path in FILES:
        assert distributions(path) <= known, path


def required_modules() -> set[str]:
    """What the distributions of engine/pyproject.toml are imported as."""
    return {
        "fastapi",
        "httptools",
        "joblib",
        "numpy",
        "onnxruntime",
        "opentelemetry",
        "orjson",
        "packaging",
        "prometheus_client",
        "pyarrow",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "ray",
        "requests",
        "scipy",
        "sklearn",
        "skl2onnx",
        "skops",
        "starlette",
        "threadpoolctl",
        "uvicorn",
    }


def test_the_public_names_are_those_that_are_listed() -> None:
    for name in serving_engine.__all__:
        assert getattr(serving_engine, name).__doc__ is not None or name.endswith("Dep")
    assert set(serving_engine._MODULES) == set(serving_engine.__all__)
