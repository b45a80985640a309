"""Finds a definition by its name, in whichever file it stands, and breaks one thing in it.

A break names its place by a fragment of the source: as little of it as tells the place from all
others in the definition. A fragment is compared word by word, so a formatter may lay the source out
as it likes; comments and docstrings are not looked at. What is not there exactly once is an error.
"""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

Span = tuple[int, int]

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class NotOnce(Exception):
    """What a guard names is not there, or is there more than once."""


class Module:
    """A source file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self._lines = self.text.split("\n")
        self._starts = [0, *accumulate(len(line) + 1 for line in self._lines)]

    @property
    def name(self) -> str:
        """The file and its folder, for messages."""
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def code(self) -> str:
        """The text with blanks for its comments and docstrings."""
        spans = [self.span(node) for node in ast.walk(self.tree) if _is_docstring(node)]
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                start = self._starts[token.start[0] - 1] + token.start[1]
                spans.append((start, start + len(token.string)))
        code = self.text
        for start, end in spans:
            code = code[:start] + re.sub(r"[^\n]", " ", code[start:end]) + code[end:]
        return code

    def span(self, node: ast.stmt | ast.expr) -> Span:
        """Where a node stands in the text; a definition begins with its decorators."""
        start = self._offset(node.lineno, node.col_offset)
        if isinstance(node, _DEFINITIONS) and node.decorator_list:
            start, _ = self.span_of_decorator(node.decorator_list[0])
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def span_of_decorator(self, node: ast.expr) -> Span:
        """Where a decorator stands in the text, with its @."""
        start, end = self.span(node)
        return self.text.rindex("@", 0, start), end

    def _offset(self, line: int, column: int) -> int:
        """`ast` counts a column in bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())


@dataclass(frozen=True)
class Definition:
    """A function, method, class or assigned name.

    name: qualified by the classes and functions around it.
    """

    name: str
    module: Module
    node: ast.stmt

    def find(self, fragment: str) -> list[Span]:
        """Every place in the definition's code where the fragment stands."""
        found = _pattern(fragment).finditer(self.module.code, *self.module.span(self.node))
        return [match.span() for match in found]

    def nodes(self) -> Iterator[ast.AST]:
        """The definition and everything in it, save what an f-string holds.

        Python 3.11 does not say where that stands.
        """
        waiting: list[ast.AST] = [self.node]
        while waiting:
            node = waiting.pop()
            yield node
            if not isinstance(node, ast.JoinedStr):
                waiting += ast.iter_child_nodes(node)


class Sources:
    """The definitions of all modules below some folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._definitions: defaultdict[str, list[Definition]] = defaultdict(list)
        for folder in folders:
            for path in sorted(folder.rglob("*.py")):
                module = Module(path)
                for name, node in _definitions(module.tree):
                    self._definitions[name].append(Definition(name, module, node))

    def find(self, name: str, module: str | None = None) -> Definition:
        """The one definition of this qualified name.

        module: the file's name without its ending, where several files define the name.
        Raises NotOnce.
        """
        found = [
            definition
            for definition in self._definitions.get(name, [])
            if module in (None, definition.module.path.stem)
        ]
        if len(found) != 1:
            where = " and ".join(definition.module.name for definition in found) or "no file"
            at = f"{name} of {module}.py" if module else name
            raise NotOnce(f"{at} is defined in {where}, and should be in one")
        return found[0]


Break = Callable[[Definition], str]
"""Takes a definition and returns the text of its file with one thing broken. Raises NotOnce."""


@dataclass(frozen=True)
class Place:
    """Something that can be broken.

    around: where a fragment must stand to mean this. replaced, code: the text that becomes code.
    """

    around: Span
    replaced: Span
    code: str


def never(fragment: str) -> Break:
    """The condition with the fragment is False: an if, elif, while, or the if of an expression."""
    return _break("conditions", fragment, lambda definition: _conditions(definition, "False"))


def always(fragment: str) -> Break:
    """The condition with the fragment is True."""
    return _break("conditions", fragment, lambda definition: _conditions(definition, "True"))


def ignoring(fragment: str) -> Break:
    """The operand of `and` or `or` with the fragment has no say."""
    return _break("operands of and/or", fragment, _operands)


def without(fragment: str) -> Break:
    """The statement with the fragment does nothing."""
    return instead(fragment, "pass")


def instead(fragment: str, code: str) -> Break:
    """The statement with the fragment is another one."""

    def places(definition: Definition) -> Iterator[Place]:
        for span in _statements(definition):
            yield Place(span, span, code)

    return _break("statements", fragment, places)


def before(fragment: str, code: str) -> Break:
    """Another statement precedes the one with the fragment."""

    def places(definition: Definition) -> Iterator[Place]:
        for start, end in _statements(definition):
            text = definition.module.text
            indent = text[text.rfind("\n", 0, start) + 1 : start]
            yield Place((start, end), (start, start), f"{code}\n{indent}")

    return _break("statements", fragment, places)


def without_decorator(fragment: str) -> Break:
    """The decorator with the fragment is not there."""

    def places(definition: Definition) -> Iterator[Place]:
        for node in definition.nodes():
            if isinstance(node, _DEFINITIONS):
                for span in map(definition.module.span_of_decorator, node.decorator_list):
                    yield Place(span, span, "")

    return _break("decorators", fragment, places)


def swap(fragment: str, code: str) -> Break:
    """The fragment itself is another text."""

    def places(definition: Definition) -> Iterator[Place]:
        for span in definition.find(fragment):
            yield Place(span, span, code)

    return _break("places", fragment, places)


def cut(fragment: str) -> Break:
    """The fragment itself is not there."""
    return swap(fragment, "")


def _break(kind: str, fragment: str, places: Callable[[Definition], Iterable[Place]]) -> Break:
    """Break the one place with the fragment; of places in each other, the inner one has it."""

    def broken(definition: Definition) -> str:
        module = definition.module
        known = list(places(definition))
        found = set()
        for start, end in definition.find(fragment):
            around = [p for p in known if p.around[0] <= start and end <= p.around[1]]
            if around:
                found.add(min(around, key=lambda place: place.around[1] - place.around[0]))
        if len(found) != 1:
            raise NotOnce(
                f"{module.name}: {definition.name} has {len(found)} {kind} with {fragment!r}, "
                "and should have one"
            )
        (place,) = found
        start, end = place.replaced
        return module.text[:start] + place.code + module.text[end:]

    return broken


def _conditions(definition: Definition, value: str) -> Iterator[Place]:
    span = definition.module.span
    for node in definition.nodes():
        if isinstance(node, ast.If | ast.While):
            # With its keyword, which tells `elif x` from `if x`.
            yield Place((span(node)[0], span(node.test)[1]), span(node.test), value)
        elif isinstance(node, ast.IfExp):
            yield Place(span(node.test), span(node.test), value)
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield Place(span(test), span(test), value)


def _operands(definition: Definition) -> Iterator[Place]:
    for node in definition.nodes():
        if isinstance(node, ast.BoolOp):
            neutral = "True" if isinstance(node.op, ast.And) else "False"
            for span in map(definition.module.span, node.values):
                yield Place(span, span, neutral)


def _statements(definition: Definition) -> Iterator[Span]:
    """Statements that hold no others."""
    for node in definition.nodes():
        if isinstance(node, ast.stmt):
            inner = (ast.stmt, ast.match_case)
            if not any(isinstance(child, inner) for child in ast.iter_child_nodes(node)):
                yield definition.module.span(node)


def _definitions(
    node: ast.AST, prefix: str = "", *, in_function: bool = False
) -> Iterator[tuple[str, ast.stmt]]:
    """All that is defined in a node, with its qualified name, but for a function's variables."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _DEFINITIONS):
            name = f"{prefix}{child.name}"
            yield name, child
            inside = not isinstance(child, ast.ClassDef)
            yield from _definitions(child, f"{name}.", in_function=inside)
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name) and not in_function:
                    yield f"{prefix}{target.id}", child
        else:
            yield from _definitions(child, prefix, in_function=in_function)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _pattern(fragment: str) -> re.Pattern[str]:
    """Matches the fragment's words and signs in whatever layout, and no parts of words.

    A formatter that breaks a line adds a comma before the closing bracket.
    """
    parts = re.findall(r"\w+|[^\w\s]", fragment)
    pattern = re.escape(parts[0])
    for one, other in pairwise(parts):
        comma = r"(,\s*)?" if other in ")]}" else ""
        gap = r"\s+" if _is_word(one) and _is_word(other) else r"\s*"
        pattern += f"{gap}{comma}{re.escape(other)}"
    first = r"\b" if _is_word(parts[0]) else ""
    last = r"\b" if _is_word(parts[-1]) else ""
    return re.compile(f"{first}{pattern}{last}")


def _is_word(part: str) -> bool:
    return re.fullmatch(r"\w+", part) is not None
