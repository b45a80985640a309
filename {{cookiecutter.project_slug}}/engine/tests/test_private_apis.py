"""Private APIs of other distributions: the table is complete and true, and releases are bounded."""

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import prometheus_client.core
import pydantic_settings
import pytest
import serving_engine
from fastapi.routing import APIRoute, iter_route_contexts
from packaging.requirements import Requirement
from packaging.version import Version
from serving_engine.private_apis import PRIVATE_APIS

SOURCE = Path(serving_engine.__file__).parent
FILES = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))[
    "project"
]
LINES = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["scikit-learn"]]
REQUIREMENTS = {parsed.name: parsed for parsed in map(Requirement, LINES)}
OPTIONAL = {"onnxruntime", "ray", "skl2onnx"}
"""Packages of extras that these tests may run without."""

PUBLIC = {
    "fastapi": {
        "APIRoute",
        "APIRouter",
        "CORSMiddleware",
        "Depends",
        "FastAPI",
        "Request",
        "RequestValidationError",
        "Response",
        "jsonable_encoder",
    },
    "httptools": {"HttpRequestParser", "HttpResponseParser", "parse_url"},
    "prometheus_client": {
        "Collector",
        "collect",
        *prometheus_client.__all__,
        *prometheus_client.core.__all__,
    },
    "pydantic_settings": {"model_config", "settings_customise_sources", *pydantic_settings.__all__},
    "starlette": {
        "ASGIApp",
        "FileResponse",
        "HTTPException",
        "Receive",
        "Request",
        "Response",
        "Route",
        "Scope",
        "Send",
    },
    "uvicorn": {"Config", "Server"},
}
"""The documented names of these packages; all others are private."""

ROUTE = APIRoute("/", lambda: None)
INSTANCES = {
    "fastapi.routing:APIRoute": ROUTE,
    "fastapi.routing:RouteContext": next(iter_route_contexts([ROUTE])),
}
"""Objects of classes whose attributes are not set by their own methods."""

NAMES = [(api.owner, name, api.distribution) for api in PRIVATE_APIS for name in api.names]


@pytest.mark.parametrize(("owner", "name", "distribution"), NAMES)
def test_a_private_api_exists(owner: str, name: str, distribution: str) -> None:
    module, _, kind = owner.partition(":")
    if distribution not in REQUIREMENTS:
        pytest.importorskip(module)
    holder = import_module(module)
    if kind:
        holder = INSTANCES.get(owner, getattr(holder, kind))
    bases = holder.__mro__ if inspect.isclass(holder) else ()
    assert hasattr(holder, name) or any(name in assigned(base) for base in bases)


@pytest.mark.parametrize("distribution", sorted({api.distribution for api in PRIVATE_APIS}))
def test_its_distribution_is_bounded_to_tested_minor_releases(distribution: str) -> None:
    """The installed one is the only one, or the canary has tested the other one."""
    if distribution not in REQUIREMENTS:
        pytest.skip("optional: the engine works without the private API")
    specifier = REQUIREMENTS[distribution].specifier
    installed = Version(version(distribution))
    minors = range(installed.minor + 10)
    allowed = [minor for minor in minors if f"{installed.major}.{minor}.999" in specifier]
    assert installed.minor in allowed
    assert len(allowed) <= 2
    assert f"{installed.major + 1}.0" not in specifier


def test_a_file_in_the_table_uses_the_private_api() -> None:
    for api in PRIVATE_APIS:
        words = {
            file: set(re.findall(r"\w+", FILES[file].read_text("utf-8"))) for file in api.files
        }
        assert all(words[file] & {*api.names} for file in api.files), api
        assert set().union(*words.values()) >= {*api.names}, api


@pytest.mark.parametrize("file", FILES)
def test_a_private_api_that_a_file_uses_is_in_the_table(file: str) -> None:
    listed = set()
    for api in PRIVATE_APIS:
        if file in api.files:
            listed |= {*api.names, api.owner.partition(":")[2]}
    assert {*imported(file), *private_attributes(file), *overridden(file)} <= listed


def imported(file: str) -> Iterator[str]:
    """Private names that a file imports from other packages, or reads from an imported package."""
    packages = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
            packages |= {module[0] for module in modules}
            yield from (part for module in modules for part in module if is_private(part))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            package, *modules = str(node.module).split(".")
            names = [alias.name for alias in node.names]
            yield from filter(is_private, [*modules, *names])
            yield from {*names} - PUBLIC.get(package, {*names})
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in packages:
            yield from {node.attr} - PUBLIC.get(ast.unparse(node.value), {node.attr})


def private_attributes(file: str) -> Iterator[str]:
    """Private attributes that a file uses of other objects than `self`, or of another's class."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = ast.unparse(node.value) in {"self", "cls"} and node.attr in own_names()
            if not own and ast.unparse(node) != "os._exit":
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            arguments = [each.value for each in node.args if isinstance(each, ast.Constant)]
            yield from filter(is_private, map(str, arguments))


def overridden(file: str) -> Iterator[str]:
    """Private names of other packages' classes that the classes of a file override."""
    try:
        module = import_module(".".join(["serving_engine", *Path(file).with_suffix("").parts]))
    except ModuleNotFoundError as error:
        if error.name in OPTIONAL:
            return
        raise
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != module.__name__:
            continue
        names = {*vars(kind), *assigned(kind)} - {"_abc_impl", "_is_protocol"}
        for base in kind.__mro__:
            package = base.__module__.partition(".")[0]
            if package in PUBLIC:
                inherited = {*vars(base), *assigned(base)} - PUBLIC[package]
                yield from (name for name in names & inherited if not name.startswith("__"))


@cache
def tree(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text("utf-8"))


@cache
def own_names() -> set[str]:
    """All names that the engine defines, as functions, variables or attributes of `self`."""
    names = set()
    for node in (node for file in FILES for node in ast.walk(tree(file))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names | {name for file in FILES for name in assigned_in(tree(file))}


@cache
def assigned(kind: type) -> set[str]:
    """The attributes that the methods of a class assign to `self`."""
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (TypeError, OSError):  # the class is not written in Python
        return set()
    return assigned_in(ast.parse(source))


def assigned_in(module: ast.Module) -> set[str]:
    return {
        node.attr
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
