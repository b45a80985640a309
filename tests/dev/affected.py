"""Which test files a change concerns: those that import or name what changed."""

import ast
import re
from functools import cache
from pathlib import Path

from ..mutation.guards import GUARDS


def tests_of(file: Path, source: Path, tests: Path) -> list[Path]:
    """The test files in the folder `tests` that a change of `file` concerns.

    A module of `source` concerns the tests that import it, that have its name, or that notice when
    one of its guards is broken, by the table of guards. If there are none, it concerns those of the
    modules that import it. A test file concerns itself, and a helper those that import it.
    """
    if file.is_relative_to(tests) and file.name.startswith("test_"):
        return [file] if file.exists() else []
    candidates = {path: imports(path, tests.parent) for path in sorted(tests.glob("test_*.py"))}
    modules = {path: imports(path, source) for path in sorted(source.rglob("*.py"))}
    found: set[Path] = set()
    wave = {file}
    seen: set[Path] = set()
    while wave and not found:
        names = {name_of(path, source, tests.parent) for path in wave}
        found = {path for path, imported in candidates.items() if imported & names}
        found |= {tests / f"{name}.py" for path in wave for name in named(path)} & set(candidates)
        seen |= wave
        wave = {path for path, imported in modules.items() if imported & names} - seen
    return sorted(found)


def named(file: Path) -> set[str]:
    """The names of the tests of a module: its own, and those of its guards."""
    names = {f"test_{file.parent.name if file.stem == '__init__' else file.stem}"}
    if file.exists():
        defined = definitions(file)
        for guard in GUARDS:
            if guard.module in (None, file.stem) and guard.definition in defined:
                names |= set(guard.tests)
    return names


def definitions(file: Path) -> set[str]:
    """The functions and classes of a module, and the methods as `Class.method`."""
    found = set()
    for node in read(file).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            members = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{member.name}" for member in members if hasattr(member, "name")}
    return found


def imports(file: Path, root: Path) -> frozenset[str]:
    """What a file imports anywhere in it, with dots: modules, and names that may be modules."""
    return _imports(file, root, file.stat().st_mtime_ns if file.exists() else 0)


@cache
def _imports(file: Path, root: Path, _written: int) -> frozenset[str]:
    found: set[str] = set()
    package = [root.name, *file.relative_to(root).parent.parts] if root in file.parents else []
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def read(file: Path) -> ast.Module:
    """A file's tree; an empty one while it is no Python."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, FileNotFoundError):
        return ast.Module(body=[], type_ignores=[])


def name_of(file: Path, source: Path, above_tests: Path) -> str:
    """What a file is imported as, with dots."""
    root = source if file.is_relative_to(source) else above_tests
    parts = [root.name, *file.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def template_tests_of(file: Path, template: Path) -> list[Path]:
    """The tests of the template that name a hook; a test file concerns itself."""
    tests = template / "tests"
    if file.is_relative_to(tests):
        return [file] if file.name.startswith("test_") and file.exists() else []
    if file.parent != template / "hooks":
        return []
    word = re.compile(rf"\b{re.escape(file.stem)}\b")
    candidates = sorted(tests.glob("test_*.py"))
    return [path for path in candidates if word.search(path.read_text(encoding="utf-8"))]
