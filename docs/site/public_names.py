"""The page about the public names of the engine, read from its source without importing it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .docstrings import name_items

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_names(engine: Path) -> str:
    """Every name in `__all__`, with its signature and its docstring."""
    tree = _parse(engine / "__init__.py")
    names: list[str] = _value(tree, "__all__")
    modules: dict[str, str] = _value(tree, "_MODULES")
    parts = [
        "# Python names",
        "What a service may import from `serving_engine`: the contract that the version of the "
        "engine speaks of. Every other name is private, and may change with any release.",
    ]
    for name in names:
        file = engine / (modules[name].replace(".", "/") + ".py")
        parts += [f"## {name}", *_describe(_parse(file), name)]
    return "\n\n".join(part for part in parts if part)


class _Unquoted(ast.NodeTransformer):
    """Takes the quotes off annotations that name what is imported for types alone."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = _unquoted(node.annotation)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = _unquoted(node.annotation) or node.annotation
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = _unquoted(node.returns)
        return self.generic_visit(node)


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    match annotation:
        case ast.Constant(value=str() as text):
            return ast.parse(text, mode="eval").body
    return annotation


def _parse(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return _Unquoted().visit(tree)


def _value(tree: ast.Module, name: str) -> object:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def _describe(tree: ast.Module, name: str) -> Iterator[str]:
    for number, node in enumerate(tree.body):
        if isinstance(node, Documented) and node.name == name:
            yield from _definition(node)
            return
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) == name:
                yield _code(ast.unparse(node))
                yield _docstring_after(tree.body[number + 1 : number + 2])
                return
    raise LookupError(name)


def _definition(node: Documented) -> Iterator[str]:
    if not isinstance(node, ast.ClassDef):
        yield _code(_signature(node))
        yield name_items(ast.get_docstring(node), _parameters(node))
        return
    bases = ", ".join(map(ast.unparse, node.bases))
    yield _code(f"class {node.name}" + (f"({bases})" if bases else ""))
    yield name_items(ast.get_docstring(node), _attributes(node))
    if node.name == "ServingSettings":
        yield "Its fields are [the settings](settings.md)."
        return
    yield from _members(node)


def _members(node: ast.ClassDef) -> Iterator[str]:
    """The constructor, the fields, and the methods that are public."""
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    public = [one for one in fields if not ast.unparse(one.target).startswith("_")]
    if public:
        yield _code("\n".join(map(ast.unparse, public)))
    for one in node.body:
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if one.name == "__init__" and len(one.args.args + one.args.kwonlyargs) > 1:
            yield _code(_signature(one).replace("def __init__", f"{node.name}"))
        elif not one.name.startswith("_"):
            yield f"### {node.name}.{one.name}"
            yield _code(_signature(one))
            yield name_items(ast.get_docstring(one), _parameters(one))


def _attributes(node: ast.ClassDef) -> set[str]:
    """The names that the docstring of a class may explain: its fields and its parameters."""
    names = {ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)}
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            names |= _parameters(one)
    return names


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {one.arg for one in [*node.args.args, *node.args.kwonlyargs]}


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = "".join(
        f"@{ast.unparse(one)}\n"
        for one in node.decorator_list
        if ast.unparse(one) in {"property", "classmethod", "staticmethod", "cached_property"}
    )
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    arguments = ast.unparse(node.args)
    if len(arguments) > 60:
        arguments = "\n    " + ",\n    ".join(_split(arguments)) + ",\n"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{decorators}{word} {node.name}({arguments}){returns}"


def _split(arguments: str) -> list[str]:
    """The arguments, parted at the commas between them."""
    parts, depth = [""], 0
    for char in arguments:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _docstring_after(nodes: list[ast.stmt]) -> str:
    match nodes:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return name_items(text, set())
    return ""


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


@dataclass
class Class:
    """A class of the engine. values: its attributes, with those that it inherits."""

    name: str
    docstring: str
    bases: list[str]
    own: dict[str, object]
    values: dict[str, object] = field(default_factory=dict)


def subclasses(engine: Path, name: str) -> list[Class]:
    """A class of the engine and all that are derived from it, wherever they are."""
    known = {one.name: one for one in _classes(engine)}

    def ancestors(one: Class) -> list[Class]:
        direct = [known[base] for base in one.bases if base in known]
        return [one, *(ancestor for base in direct for ancestor in ancestors(base))]

    found = []
    for one in known.values():
        line = ancestors(one)
        if known[name] in line:
            for ancestor in reversed(line):
                one.values |= ancestor.own
            found.append(one)
    return found


def _classes(engine: Path) -> Iterator[Class]:
    for file in sorted(engine.rglob("*.py")):
        for node in ast.walk(_parse(file)):
            if isinstance(node, ast.ClassDef):
                own = {
                    ast.unparse(one.targets[0]): one.value.value
                    for one in node.body
                    if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
                }
                docstring = ast.get_docstring(node) or ""
                yield Class(node.name, docstring, list(map(ast.unparse, node.bases)), own)
