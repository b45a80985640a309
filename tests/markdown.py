"""A page as its reader follows it: sections, blocks of code, and the files that these make."""

import re
from pathlib import Path
from typing import NamedTuple

from .edits import append, replace


class Block(NamedTuple):
    """A block of code: its kind and text, and where the text starts and ends in the page."""

    kind: str
    text: str
    start: int
    end: int


def section(page: str, heading: str) -> str:
    """What is below a heading of the second level, which must be there."""
    _, found, below = page.partition(f"\n## {heading}\n")
    assert found, f"no section {heading}"
    return below.partition("\n## ")[0]


def blocks(page: str, kind: str = r"\w+") -> list[Block]:
    """The blocks of a page, or those of one kind, in its order."""
    found = re.finditer(rf"^```({kind})\n(.*?)^```$", page, re.M | re.S)
    return [Block(each[1], each[2], each.start(2), each.end(2)) for each in found]


def commands(page: str) -> list[str]:
    """The lines of all its blocks of commands."""
    return [line for block in blocks(page, "sh") for line in block.text.splitlines()]


def write_file(page: str, name: str, folder: Path) -> None:
    """Write the file that is a block of the page, whose first line names it, as `# train.py`."""
    (text,) = [each.text for each in blocks(page) if each.text.startswith(f"# {name}\n")]
    (folder / name).write_text(text, encoding="utf-8")


def put(block: str, folder: Path) -> None:
    """Make or change the file that the first line of a block names.

    `# train.py` makes it. `# routes.py, at the end` adds to it, as do `below "..."` and
    `in place of "..."`, which name a line that is there once.
    """
    head, _, code = block.partition("\n")
    name, _, place = head.removeprefix("# ").partition(", ")
    where, _, line = place.partition(' "')
    line = line.removesuffix('"') + "\n"
    match where:
        case "":
            (folder / name).write_text(block, encoding="utf-8")
        case "at the end":
            append(folder / name, code)
        case "below":
            replace(folder / name, line, line + code)
        case "in place of":
            replace(folder / name, line, code)
        case _:
            raise AssertionError(f"where is that: {place}")
