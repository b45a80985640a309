"""Which conditions of the template's Jinja were true, and which false, while it was rendered."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from jinja2 import Environment, nodes

Condition = tuple[str, int, int]
"""A template's name, a line, and which of that line's conditions it is."""

OUTCOMES: defaultdict[Condition, set[bool]] = defaultdict(set)
"""What each condition came to, since `recorded` began."""

PARSED: set[str] = set()
"""The names of the templates that were needed in the meantime."""

_parse = Environment._parse


def conditions(template: nodes.Template, name: str) -> Iterator[tuple[Condition, Any]]:
    """Every `if` and `elif` of a template, those of expressions and loops as well."""
    seen: defaultdict[int, int] = defaultdict(int)
    for node in template.find_all((nodes.If, nodes.CondExpr, nodes.For)):
        if node.test is not None:
            seen[node.lineno] += 1
            yield (name, node.lineno, seen[node.lineno]), node


def conditions_in(text: str, name: str) -> set[Condition]:
    """Every condition in the text of a template."""
    return {condition for condition, _ in conditions(_parse(Environment(), text, name, None), name)}


@contextmanager
def recorded() -> Iterator[None]:
    """Keep OUTCOMES and PARSED of the templates that this process renders in the meantime."""
    OUTCOMES.clear()
    PARSED.clear()
    with patch.object(Environment, "_parse", _parse_and_watch):
        yield


def record(condition: Condition, outcome: Any) -> Any:
    """What a watched template calls: notes whether the outcome is true, and returns it."""
    OUTCOMES[condition].add(bool(outcome))
    return outcome


def _parse_and_watch(
    environment: Environment, source: str, name: str | None, filename: str | None
) -> nodes.Template:
    template = _parse(environment, source, name, filename)
    if name is not None:  # the name of a file, or an answer
        name = Path(os.path.normpath(name)).as_posix()
        PARSED.add(name)
        watcher = nodes.ImportedName(f"{__name__}.record")
        for condition, node in list(conditions(template, name)):
            arguments = [nodes.Const(condition), node.test]
            node.test = nodes.Call(watcher, arguments, [], None, None, lineno=node.lineno)
            node.set_environment(environment)
    return template
