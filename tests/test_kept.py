"""What is kept for the next run is used again as long as it is right, and no longer."""

from pathlib import Path

import pytest

from .kept import MOST, keep, key


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("", encoding="utf-8")
    return folder


def test_a_second_run_uses_what_the_first_has_made(tmp_path: Path) -> None:
    made: list[Path] = []
    assert keep(tmp_path, "one", made.append) == keep(tmp_path, "one", made.append) == made[0]
    assert len(made) == 1


def test_what_was_not_made_to_its_end_is_made_anew(tmp_path: Path) -> None:
    def end_too_early(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, "one", end_too_early)
    folder = keep(tmp_path, "one", lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in folder.iterdir()) == ["made", "whole"]


def test_the_one_that_was_unused_for_longest_makes_room(tmp_path: Path) -> None:
    for name in map(str, range(MOST)):
        keep(tmp_path, name, Path.exists)
    keep(tmp_path, "0", Path.exists)
    keep(tmp_path, "new", Path.exists)
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"0", "new", *map(str, range(2, MOST))}


@pytest.mark.parametrize("change", ["a file", "a name", "a variable", "the rest"])
def test_whatever_it_is_made_from_another_is_made(
    change: str, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(template, "sync")
    assert key(template, "sync") == before
    match change:
        case "a file":
            (template / "pyproject.toml").write_text("[project]", encoding="utf-8")
        case "a name":
            (template / "pyproject.toml").rename(template / "project.toml")
        case "a variable":
            monkeypatch.setenv("UV_RESOLUTION", "lowest")
    assert key(template, "other" if change == "the rest" else "sync") != before
