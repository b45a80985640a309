"""The README of the engine: what it names exists, and its map is what the tests hold."""

import ast
import re
from pathlib import Path

import pytest
import serving_engine

from .test_imports import FOUNDATION, MAY_IMPORT

SOURCE = Path(serving_engine.__file__).parent
ENGINE = Path(__file__).parents[1]
README = (ENGINE / "README.md").read_text(encoding="utf-8")

PLACES = sorted(set(re.findall(r"`([\w./]+\.py)(?:: (\w+))?`", README)))
"""What the README names as `file.py` or as `file.py: name`."""

ROWS = re.findall(r"^\| `(\w+)(?:/|\.py)` \|.*\| ([\w, ]*)\|$", README, re.MULTILINE)
"""Each room of the map, and what it may import."""


@pytest.mark.parametrize(("file", "name"), PLACES, ids=[":".join(place) for place in PLACES])
def test_every_place_that_is_named_exists(file: str, name: str) -> None:
    base = ENGINE if file.startswith(("src/", "tests/")) else SOURCE
    assert (base / file).is_file()
    if name:
        assert name in definitions(base / file)


def test_every_folder_that_is_named_exists() -> None:
    for folder in re.findall(r"`([\w/]+)/`", README):
        base = ENGINE if folder.startswith(("src/", "tests/")) else SOURCE
        assert (base / folder).is_dir(), folder


def test_the_map_says_what_each_room_may_import() -> None:
    rooms = {name: set(filter(None, allowed.strip().split(", "))) for name, allowed in ROWS}
    assert rooms == MAY_IMPORT
    foundation = README.partition("may import the foundation:")[2].partition(" Only")[0]
    assert set(re.findall(r"`(\w+)(?:/|\.py)`", foundation)) == FOUNDATION


def definitions(path: Path) -> set[str]:
    """The functions, methods and classes of a file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
