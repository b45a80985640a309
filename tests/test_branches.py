"""Each condition of the template is true in one combination of the matrix, false in another."""

import shutil
from pathlib import Path

import pytest

from .branches import OUTCOMES, PARSED, Condition, conditions_in, recorded
from .rendering import COMBINATIONS, PROJECT, SETTINGS, copy_template, render

ENGINE = f"{PROJECT}/engine"
# What a README escapes is a condition too.
MARKDOWN = "Tells *three* species of iris apart."


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template without the engine, which holds no Jinja: quick to render."""
    template = copy_template(tmp_path_factory.mktemp("template") / "prose")
    shutil.rmtree(template / ENGINE)
    return template


def conditions_of(template: Path) -> set[Condition]:
    """Those of every file that is rendered, or included in one."""
    found = set()
    copied = [pattern for pattern in SETTINGS["_copy_without_render"] if "engine" not in pattern]
    for root in (template / PROJECT, template / "templates"):
        for path in filter(Path.is_file, root.rglob("*")):
            name = path.relative_to(root)
            if root.name == PROJECT and any(map(name.match, copied)):
                continue
            found |= conditions_in(path.read_text(encoding="utf-8"), name.as_posix())
    return found


def taken_one_way(template: Path, folder: Path) -> dict[Condition, set[bool]]:
    """The conditions that were not both true and false over the matrix, and what they were."""
    with recorded():
        for number, answers in enumerate(COMBINATIONS):
            render(folder / str(number), template, hooks=False, description=MARKDOWN, **answers)
    every = {condition: OUTCOMES[condition] for condition in conditions_of(template) | {*OUTCOMES}}
    return {condition: seen for condition, seen in every.items() if seen != {True, False}}


def test_every_condition_of_the_template_is_taken_both_ways(prose: Path, tmp_path: Path) -> None:
    assert len(conditions_of(prose)) > 20
    assert taken_one_way(prose, tmp_path) == {}
    parts = prose / "templates"
    assert {path.relative_to(parts).as_posix() for path in parts.rglob("*.md")} <= PARSED


def test_a_condition_that_is_taken_one_way_is_found(prose: Path, tmp_path: Path) -> None:
    template = Path(shutil.copytree(prose, tmp_path / "template"))
    readme = template / PROJECT / "README.md"
    source = readme.read_text(encoding="utf-8")
    dead = (
        '{% if cookiecutter.ci == "travis" %}a{% elif cookiecutter.ci %}b{% else %}c{% endif %}\n'
    )
    readme.write_text(f"{dead}{source}", encoding="utf-8")
    (template / "templates" / "forgotten.md").write_text("{{ 1 if 2 else 3 }}", encoding="utf-8")
    assert taken_one_way(template, tmp_path / "out") == {
        ("README.md", 1, 1): {False},  # never true
        ("README.md", 1, 2): {True},  # never false
        ("forgotten.md", 1, 1): set(),  # included nowhere
    }
