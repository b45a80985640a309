"""What a page names is there: links, settings, metrics, tasks, paths."""

import re
from urllib.parse import unquote

import pytest
from docs.site import forge_markdown

from .conftest import ROOT
from .markdown import commands
from .rendering import PROJECT
from .test_layout import tracked

SOURCE = ROOT / PROJECT / "engine" / "src" / "serving_engine"

OF_THE_REPOSITORY = sorted(
    name
    for name in tracked(ROOT)
    if name.endswith(".md") and not name.startswith(("docs/", "templates/", PROJECT))
)
"""Pages that are neither of the site nor of a project: test_site.py follows the links of those."""

TELLING = [f"{PROJECT}/README.md", f"{PROJECT}/SECURITY.md"]
TELLING += [f"{PROJECT}/docs/{name}.md" for name in ("capacity", "many-machines", "model-home")]
TELLING += sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("explanation", "tutorial")
    for path in (ROOT / "docs" / folder).glob("*.md")
)
"""Pages that say which setting does what, and which metric tells."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", OF_THE_REPOSITORY)
def test_each_link_of_a_page_leads_somewhere(page: str) -> None:
    targets: list[str] = []
    forge_markdown.replace_links(read(page), lambda target: targets.append(target) or target)
    for target in targets:
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = unquote(target).partition("#")
            there = (ROOT / page).parent / path if path else ROOT / page
            assert there.exists(), target
            assert not anchor or anchor in forge_markdown.anchors(there.read_text("utf-8")), target


@pytest.mark.parametrize("page", TELLING)
def test_the_settings_and_metrics_of_a_page_exist(page: str) -> None:
    text = read(page)
    declared = (SOURCE / "settings.py").read_text(encoding="utf-8")
    reported = (SOURCE / "telemetry" / "exposition.py").read_text(encoding="utf-8")
    own = set(re.findall(r'"""[^"]*: SERVING_(\w+)\.', text))  # a setting that the page adds
    for name in set(re.findall(r"`SERVING_(\w+)", text)) - own:
        assert f"\n    {name.lower()}: " in declared, name
    for name in set(re.findall(r"`(serving_\w+)", text)) - {"serving_engine"}:
        assert f'"{name.removesuffix("_total")}"' in reported, name


TASKS = set(re.findall(r"^([a-z-]+):.*##", read("Makefile"), re.M))
TYPING = ["README.md", "CONTRIBUTING.md", "AGENTS.md", "docs/how-to/your-organizations-template.md"]


@pytest.mark.parametrize("page", TYPING)
def test_a_page_names_tasks_that_there_are(page: str) -> None:
    lines = [*commands(read(page)), *re.findall(r"`(make [^`]+)`", read(page))]
    typed = re.findall(r"^make ([a-z-]+(?: [a-z-]+)*)", "\n".join(lines), re.M)
    assert typed
    assert {task for line in typed for task in line.split()} <= TASKS


def test_contributors_are_told_of_every_task() -> None:
    told = re.findall(r"(?:^make |\b(?=test-))([a-z-]+)", read("CONTRIBUTING.md"), re.M)
    assert TASKS - set(told) == {"help", "clean"}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_each_path_of_a_map_is_there(page: str) -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", read(page), re.M)
    assert len(rows) > 5
    for path in re.findall(r"`([^`]+)`", " ".join(rows)):
        assert list(ROOT.glob(path)), path
