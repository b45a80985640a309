"""A break finds its place whatever the layout, and says so where it does not."""

from pathlib import Path

import pytest

from .breaking import (
    Break,
    NotOnce,
    Sources,
    always,
    before,
    cut,
    ignoring,
    instead,
    never,
    swap,
    without,
    without_decorator,
)

SOURCE = '''\
LIMIT = 5  # rows at most


class Shop:
    open = True

    @cached
    @staticmethod
    def admit(rows, most):
        """Raise TooMany if left < 0."""
        left = most - sum(  # left < 0 is possible
            rows,
            start=0,
        )
        if left < 0:
            raise TooMany(f"…{-left if left < 0 else 0}")
        elif left == 0 and (rows or most):
            return [row for row in rows if row]
        return rows if most else None
'''


@pytest.mark.parametrize(
    ("name", "broken", "old", "new"),
    [
        ("Shop.admit", never("left < 0"), "if left < 0:", "if False:"),
        ("Shop.admit", always("elif left"), "left == 0 and (rows or most):", "True:"),
        ("Shop.admit", never("row"), "if row]", "if False]"),
        ("Shop.admit", ignoring("left == 0"), "left == 0 and", "True and"),
        ("Shop.admit", ignoring("rows"), "(rows or most)", "(False or most)"),
        ("Shop.admit", without("[row"), "return [row for row in rows if row]", "pass"),
        ("Shop.admit", instead("None", "return 1"), "return rows if most else None", "return 1"),
        ("Shop.admit", before("None", "a()"), "return rows if", "a()\n        return rows if"),
        ("Shop.admit", cut("start=0,"), "start=0,", ""),
        ("Shop.admit", without_decorator("cached"), "@cached", ""),
        ("Shop.open", swap("True", "False"), "open = True", "open = False"),
        ("Shop", without("open"), "open = True", "pass"),
        ("LIMIT", swap("5", "6"), "LIMIT = 5", "LIMIT = 6"),
    ],
)
def test_a_break_changes_its_place_alone(
    tmp_path: Path, name: str, broken: Break, old: str, new: str
) -> None:
    assert SOURCE.count(old) == 1
    assert broken(sources(tmp_path).find(name)) == SOURCE.replace(old, new)


def test_layout_and_comments_do_not_count(tmp_path: Path) -> None:
    text = swap("sum(rows, start=0)", "1")(sources(tmp_path).find("Shop.admit"))
    assert "left = most - 1\n        if left < 0:" in text


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (never("lef"), "has 0 conditions with 'lef'"),
        (never("left"), "has 2 conditions with 'left'"),
        (never("TooMany"), "has 0 conditions with 'TooMany'"),
        (ignoring("left < 0"), "has 0 operands of and/or with 'left < 0'"),
        (without("return"), "has 2 statements with 'return'"),
        (swap("most", ""), "has 4 places with 'most'"),
    ],
)
def test_what_is_not_there_once_is_told(tmp_path: Path, broken: Break, message: str) -> None:
    with pytest.raises(NotOnce, match=f"shop.py: Shop.admit {message}, and should have one"):
        broken(sources(tmp_path).find("Shop.admit"))


def test_a_name_is_found_in_any_folder_and_told_apart_by_its_module(tmp_path: Path) -> None:
    folders = [tmp_path / "engine", tmp_path / "src"]
    sources(folders[0] / "inner")
    found = Sources(folders).find("Shop.admit")
    assert found.module.path == folders[0] / "inner" / "shop.py"
    with pytest.raises(NotOnce, match=r"Shop.refuse is defined in no file, and should be in one"):
        Sources(folders).find("Shop.refuse")

    sources(folders[1], "stall.py")
    with pytest.raises(NotOnce, match=r"Shop.admit is defined in inner/shop.py and src/stall.py"):
        Sources(folders).find("Shop.admit")
    assert Sources(folders).find("Shop.admit", "stall").module.path == folders[1] / "stall.py"


def test_variables_of_a_function_are_no_definitions(tmp_path: Path) -> None:
    with pytest.raises(NotOnce):
        sources(tmp_path).find("Shop.admit.left")


def sources(folder: Path, file: str = "shop.py") -> Sources:
    """A folder with the module above."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(SOURCE, encoding="utf-8")
    return Sources([folder])
