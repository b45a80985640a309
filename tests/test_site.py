"""The documentation site: complete, without broken links, and whole without the network."""

import ast
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from docs.site import assemble, forge_markdown
from docs.site.__main__ import build
from docs.site.assemble import InvalidPages, Page, Site

from . import processes
from .conftest import ROOT
from .rendering import PROJECT

ENGINE = ROOT / PROJECT / "engine/src/serving_engine"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    output = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "docs.site", "--output", output]
    ended = processes.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return output


class Loaded(HTMLParser):
    """What a browser loads with a page: scripts, styles, fonts, pictures, frames."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.classes: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.classes.update((given.get("class") or "").split())
        self.urls += [url for name, url in attributes if url and name in {"src", "srcset", "data"}]
        if tag == "link":
            self.urls.append(given.get("href") or "")


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = [Loaded(page) for page in site.rglob("*.html")]
    assert len(pages) > 30
    for page in pages:
        assert page.urls
        assert not [url for url in page.urls if re.match(r"(\w+:)?//", url)]
        # For these the script of the theme asks another host: what draws them, and for stars.
        assert not {"mermaid", "arithmatex", "md-source"} & page.classes
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:url\(|@import )["']?(?:\w+:)?//""", text), style


@pytest.mark.slow
def test_no_markup_is_left_in_a_text(site: Path) -> None:
    """Where forges and the generator read Markdown differently, it shows as text."""
    for page in site.rglob("index.html"):
        article = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.S)
        prose = re.sub(r"<pre.*?</pre>|<code.*?</code>|<[^>]+>", "", article[0], flags=re.S)
        assert not re.findall(r".*(?:\*\*|\]\(|```|^\* |^\| ).*", prose, re.M), page


@pytest.mark.slow
def test_every_setting_error_name_and_command_is_in_the_reference(site: Path) -> None:
    def headings(page: str) -> set[str]:
        text = (site / f"reference/{page}/index.html").read_text(encoding="utf-8")
        return set(re.findall(r'<h[23] id="([^"]+)"', text))

    declared = re.findall(r"^    (\w+): .*= ", source("settings.py"), re.M)
    fields = {name for name in declared if name not in {"transformers", "model_class"}}
    assert headings("settings") == {f"serving_{name}" for name in fields}
    assert {"serving_requests_total", "serving_queue_seconds", "serving_workers"} <= headings(
        "metrics"
    )
    assert {"serve", "check", "doctor", "model-package", "model-drift"} <= headings("command-line")
    tree = ast.parse(source("__init__.py"))
    (public,) = (node for node in tree.body if ast.unparse(node).startswith("__all__"))
    assert {name.lower() for name in ast.literal_eval(public.value)} <= headings("python")
    errors = (site / "reference/errors/index.html").read_text(encoding="utf-8")
    for kind in re.findall(r'    kind = "([a-z-]+)"', source("errors.py")):
        assert f"<code>{kind}</code>" in errors, kind


def source(name: str) -> str:
    return (ENGINE / name).read_text(encoding="utf-8")


def test_links_that_lead_nowhere_end_the_build_and_are_named(tmp_path: Path) -> None:
    links = ["upgrade-it.md", "upgrade.md#nowhere", "#nowhere", "../nowhere.png", "../../LICENCE"]
    site = Site()
    text = "# New\n\n" + "\n".join(f"[there]({link}), `[not]({link})`" for link in links)
    site.pages["how-to/new.md"] = Page(text, "docs/how-to/new.md")
    with pytest.raises(InvalidPages) as caught:
        site.write(tmp_path)
    assert str(caught.value).splitlines() == [
        f"docs/how-to/new.md (page how-to/new.md): {link} leads nowhere" for link in links
    ]


def test_links_that_a_forge_follows_lead_to_the_same_text_in_the_site(tmp_path: Path) -> None:
    template = f"../../{PROJECT}".replace("{", "%7B").replace("}", "%7D")
    url = f"{assemble.repository_url()}/blob/main"
    leads = {
        "upgrade.md#link-it-once": "upgrade.md#link-it-once",
        "../reference/": "../reference/index.md",
        f"{template}/docs/upgrade.md": "upgrade.md",
        f"{template}/README.md#predict-a-file": "predict-files.md",
        f"{template}/README.md#close-it": "close-it.md#close-it",
        "../page.png": "../pictures/docs-page.png",
        "../../tests/rendering.py": f"{url}/tests/rendering.py",
        "../../README.md#how-fast-it-is": "../reference/speed.md",
        "../../README.md#what-you-get": f"{url}/README.md#what-you-get",
    }
    site = Site()
    text = "# New\n\n" + "\n".join(f"[there]({link})" for link in leads)
    site.pages["how-to/new.md"] = Page(text, "docs/how-to/new.md")
    site.write(tmp_path)
    written = (tmp_path / "pages/how-to/new.md").read_text(encoding="utf-8")
    assert re.findall(r"\((.*)\)", written) == list(leads.values())


def test_every_section_of_the_generated_readme_has_a_page() -> None:
    assert list(assemble.left_out()) == []


def test_a_written_page_is_in_the_navigation_of_its_part() -> None:
    site = Site()
    site.pages["explanation/new.md"] = Page("# New\n", "docs/explanation/new.md")
    assert "explanation/new.md" in set(strings(site.navigation()))


def strings(value: object) -> Iterator[str]:
    """The strings in lists and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def test_a_fork_gets_a_site_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://forge.example.org")
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/models")
    Site().write(tmp_path)
    config = (tmp_path / "zensical.toml").read_text(encoding="utf-8")
    assert 'link = "https://forge.example.org/team/models"' in config
    front = (tmp_path / "pages/index.md").read_text(encoding="utf-8")
    assert "gh:team/models" in front
    assert "OWNER" not in front


def test_a_list_gets_the_room_that_the_generator_asks_for() -> None:
    forge = "text\n* one\n\n  ```sh\n  ls\n  ```\n* two\n\ntext\n"
    expected = "text\n\n* one\n\n    ```sh\n    ls\n    ```\n\n* two\n\ntext\n"
    assert forge_markdown.convert(forge) == expected


def test_a_pipe_in_code_stays_in_its_cell() -> None:
    assert forge_markdown.convert("| `a\\|<b` |\n") == "| <code>a&#124;&lt;b</code> |\n"


def test_a_folder_that_is_no_site_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    assert build(tmp_path) == 2
    assert (tmp_path / "mine.txt").exists()
