"""Puts the pages of the site together, in a folder from which its generator builds."""

import json
import os
import posixpath
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from cookiecutter.utils import create_env_with_context
from jinja2 import Environment, FileSystemLoader
from tests.rendering import PROJECT, ROOT, context

from . import forge_markdown

DOCS = ROOT / "docs"
OWN = DOCS / "site"
PICTURES = {".png", ".svg"}
REPOSITORY = "OWNER/cookiecutter-model-serving"
"""What stands for the repository where nobody says which it is."""


class InvalidPages(Exception):
    """Pages without a title, or with links that lead nowhere: a line for each."""


class Reference(Protocol):
    """The pages that are made from the code, and what makes links of the names in a text."""

    pages: dict[str, str]

    def link_names(self, text: str, folder: str, /) -> str: ...


@dataclass
class Page:
    """A page before its links are replaced.

    text: as a forge reads it. source: the file in the repository relative to which its links are; a
    link with a / in front is relative to the repository.
    """

    text: str
    source: str


class Site:
    """The pages of the site by their path in it, as `how-to/upgrade.md`."""

    def __init__(self) -> None:
        self.plan = tomllib.loads((OWN / "pages.toml").read_text(encoding="utf-8"))
        self.pages: dict[str, Page] = {}
        self.places: dict[str, str] = {}
        """Which page has a file of the repository, or FILE#ANCHOR of it: PAGE or PAGE#ANCHOR."""
        self.taken: set[str] = set()
        """The sections that pages have, as FILE#Heading."""
        self.link_names: Callable[[str, str], str] = lambda text, _: text
        self.summaries: dict[str, str] = {}
        """One sentence about a page, where its own first one does not say it."""
        self._add_written_pages()
        for group in self.plan["groups"]:
            for entry in group["pages"]:
                self._add_taken("how-to", entry)
        for entry in self.plan["reference"]:
            self._add_taken("reference", entry)

    def add_reference(self, reference: Reference) -> None:
        """Add the pages that are made from the code, and links to them from all others."""
        for name, text in reference.pages.items():
            self.pages[f"reference/{name}"] = Page(text, f"docs/reference/{name}")
        for file, name in self.plan["made_from"].items():
            self.places.setdefault(file, f"reference/{name}")
        self.link_names = reference.link_names

    def _add_written_pages(self) -> None:
        for path in sorted(DOCS.rglob("*.md")):
            if OWN not in path.parents:
                name = path.relative_to(DOCS).as_posix()
                source = path.relative_to(ROOT).as_posix()
                text = path.read_text(encoding="utf-8")
                if not text.startswith("# "):
                    raise InvalidPages(f"{source}: a page begins with its title, # TITLE")
                self.pages[name] = Page(text, source)
                self.places[source] = name

    def _add_taken(self, part: str, entry: dict[str, Any]) -> None:
        """Add a page that has texts of elsewhere."""
        name = f"{part}/{entry['file']}"
        self.summaries[name] = entry.get("about", "")
        texts = []
        for taken in entry["take"]:
            answers = entry.get("answers", {})
            if isinstance(taken, dict):  # from a project with other answers than the page's
                taken, answers = taken["from"], taken["answers"]
            file, _, heading = taken.partition("#")
            source = file[1:] if file.startswith("/") else f"{PROJECT}/{file}"
            text = rendered(source, answers)
            self.taken.add(taken)
            if heading:
                text = forge_markdown.sections(text)[heading]
                anchor = forge_markdown.anchor(heading)
                whole = "title" in entry and len(entry["take"]) == 1
                place = name if whole else f"{name}#{anchor}"
                self.places.setdefault(f"{source}#{anchor}", place)
            else:
                self.places.setdefault(source, name)
            here = posixpath.dirname(source)
            texts.append(forge_markdown.replace_links(text, partial(from_root, here)))
        text = "\n".join(texts)
        if "title" in entry:
            body = re.sub(r"\A# .*\n", "", text)
            if len(texts) == 1 and body.startswith("## "):
                body = forge_markdown.raise_headings(body.partition("\n")[2])
            text = f"# {entry['title']}\n\n{body.lstrip()}"
        heading, _, body = text.partition("\n")
        self.pages[name] = Page(f"{heading}\n\n{origin(entry)}\n{body}", source)

    # What is written

    def write(self, folder: Path) -> None:
        """Write the pages, what they show, and the configuration into a new folder.

        Raises InvalidPages.
        """
        broken: list[str] = []
        self._add_parts()
        for name, page in self.pages.items():
            text = forge_markdown.convert(page.text)
            if name != "index.md":
                text = self.link_names(text, "" if name[:10] == "reference/" else "../reference/")
            text = forge_markdown.replace_links(text, self._replacer(name, page, broken, folder))
            put(folder / "pages" / name, with_repository(text))
        shutil.copy(OWN / "site.css", folder / "pages" / "site.css")
        config = (OWN / "zensical.toml").read_text(encoding="utf-8")
        config = config.replace("nav = []", f"nav = {toml_array(self.navigation())}")
        put(folder / "zensical.toml", config.replace(repository_url(REPOSITORY), repository_url()))
        if broken:
            raise InvalidPages("\n".join(broken))

    def navigation(self) -> list[Any]:
        """The pages as the navigation has them."""
        parts: list[Any] = [{"Start": "index.md"}]
        for part, about in self.plan["parts"].items():
            entries: list[Any] = [f"{part}/index.md"]
            for title, names in self.groups_of(part):
                entries += [{title: names}] if title else names
            parts.append({about["title"]: entries})
        return parts

    def groups_of(self, part: str) -> list[tuple[str, list[str]]]:
        """The pages of a part but its first: titles of groups, each with its pages in order.

        Pages of no group are under `More`, or under no title where there are no groups.
        """
        groups = [
            (group["title"], [f"{part}/{entry['file']}" for entry in group["pages"]])
            for group in (self.plan["groups"] if part == "how-to" else [])
        ]
        grouped = {name for _, names in groups for name in names}
        rest = [name for name in self.names_in(part) if name not in grouped]
        return groups + ([("More" if groups else "", rest)] if rest else [])

    def names_in(self, part: str) -> list[str]:
        """The pages of a part but its first, in order."""
        order = self.plan["parts"][part].get("order", [])
        names = [name for name in self.pages if name.startswith(f"{part}/")]
        names = [name for name in names if name != f"{part}/index.md"]

        def place(name: str) -> tuple[int, str]:
            file = name.partition("/")[2]
            return (order.index(file) if file in order else len(order), file)

        return sorted(names, key=place)

    def _add_parts(self) -> None:
        """The first page of each part lists the others, if nobody has written one."""
        for part, about in self.plan["parts"].items():
            if f"{part}/index.md" not in self.pages:
                lines = [f"# {about['title']}", "", about["about"], ""]
                for title, names in self.groups_of(part):
                    lines += [f"## {title}", ""] if title else []
                    lines += [*map(self._item, names), ""]
                self.pages[f"{part}/index.md"] = Page("\n".join(lines), f"docs/{part}/x.md")

    def _item(self, name: str) -> str:
        text = self.pages[name].text
        summary = self.summaries.get(name) or forge_markdown.first_sentence(text)
        return f"* [{forge_markdown.title(text)}]({name.partition('/')[2]}): {summary}"

    # Links

    def _replacer(
        self, name: str, page: Page, broken: list[str], folder: Path
    ) -> Callable[[str], str]:
        here = posixpath.dirname(name)

        def replace(target: str) -> str:
            if re.match(r"[a-z]+:", target):
                return target
            place = self._in_site(name, target) or self._elsewhere(page.source, target, folder)
            if place is None:
                broken.append(f"{page.source} (page {name}): {target} leads nowhere")
                return target
            if place.startswith("https:"):
                return place
            file, mark, anchor = place.partition("#")
            return posixpath.relpath(file, here or ".") + mark + anchor

        return replace

    def _in_site(self, name: str, target: str) -> str | None:
        """The page, with its anchor, to which a link of another page leads by the site's paths."""
        path, _, anchor = target.partition("#")
        joined = posixpath.join(posixpath.dirname(name), path)
        return self._with_anchor(posixpath.normpath(joined) if path else name, anchor)

    def _with_anchor(self, page: str, anchor: str) -> str | None:
        page = page if page in self.pages else f"{page}/index.md"
        if page not in self.pages:
            return None
        if not anchor:
            return page
        known = anchor in forge_markdown.anchors(self.pages[page].text)
        return f"{page}#{anchor}" if known else None

    def _elsewhere(self, source: str, target: str, folder: Path) -> str | None:
        """Where in the site a link of a file of the repository leads, else its URL.

        None if it leads nowhere.
        """
        path, _, anchor = unquote(target).partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)).lstrip("/")
        if path and f"{file}#{anchor}" in self.places:
            return self.places[f"{file}#{anchor}"]
        if path and file in self.places:
            found = self._with_anchor(self.places[file], anchor)
            if found:
                return found
        there = ROOT / file
        if not path or not there.exists() or not there.resolve().is_relative_to(ROOT):
            return None
        if there.suffix in PICTURES:
            shown = f"pictures/{file.replace('/', '-')}"
            (folder / "pages/pictures").mkdir(parents=True, exist_ok=True)
            shutil.copy(there, folder / "pages" / shown)
            return shown
        if anchor and there.suffix == ".md" and anchor not in forge_markdown.anchors(read(file)):
            return None
        kind = "tree" if there.is_dir() else "blob"
        return f"{repository_url()}/{kind}/main/{quote(file)}" + (f"#{anchor}" if anchor else "")


def left_out() -> Iterator[str]:
    """The sections of the generated README that no page has, though the plan does not say so."""
    site = Site()
    for heading in forge_markdown.sections(rendered(f"{PROJECT}/README.md", {"protocols": "all"})):
        if heading and f"README.md#{heading}" not in {*site.taken, *site.plan["left_out"]}:
            yield heading


def rendered(source: str, answers: dict[str, str]) -> str:
    """A file of the repository; one of the template's as the project with these answers has it."""
    if not source.startswith(PROJECT) or source.startswith(f"{PROJECT}/engine/"):
        return read(source)
    environment, values = _environment(tuple(answers.items()))
    return environment.get_template(source.removeprefix(f"{PROJECT}/")).render(**values)


@cache
def _environment(answers: tuple[tuple[str, str], ...]) -> tuple[Environment, dict[str, Any]]:
    """What cookiecutter renders with, for these answers."""
    values = context(**dict(answers))
    environment = create_env_with_context(values)
    environment.loader = FileSystemLoader([ROOT / PROJECT, ROOT / "templates"])
    return environment, values


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def origin(entry: dict[str, Any]) -> str:
    """The line of a page that says where its text is, and for which answers it is shown."""
    taken = [one["from"] if isinstance(one, dict) else one for one in entry["take"]]
    files = dict.fromkeys(one.partition("#")[0] for one in taken)
    where = " and ".join(f"`{file.removeprefix('/')}`" for file in files)
    whose = "of the template" if taken[0].startswith("/") else "of a project"
    answers = ", ".join(f"`{key}={value}`" for key, value in entry.get("answers", {}).items())
    return f"*From {where} {whose}{f', made with {answers}' if answers else ''}.*\n"


def from_root(folder: str, target: str) -> str:
    """A link in a file of a folder of the repository, made relative to the repository."""
    if target.startswith("#") or re.match(r"[a-z]+:", target):
        return target
    return "/" + posixpath.normpath(posixpath.join(folder, target))


def repository() -> str:
    """OWNER/NAME of the repository: the forge says it where it builds."""
    return os.environ.get("GITHUB_REPOSITORY", REPOSITORY)


def repository_url(name: str | None = None) -> str:
    host = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"https://github.com/{name}" if name else f"{host}/{repository()}"


def with_repository(text: str) -> str:
    """The text with the commands that name the repository as they can be typed."""
    return text.replace(f"gh:{REPOSITORY}", f"gh:{repository()}")


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def toml_array(value: Any) -> str:
    """Lists, strings and dictionaries of them as TOML has them on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml_array, value))}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {toml_array(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value)
