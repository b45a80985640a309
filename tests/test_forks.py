"""A fork of the template, made as its page says: changed, tested, merged with upstream."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import cruft
import pytest

from . import processes
from .conftest import ROOT, clean_environment, passed
from .edits import replace
from .markdown import commands, section
from .rendering import PROJECT, files, make_repository, render, run, tool
from .servers import serve

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/how-to/your-organizations-template.md"
TEXT = PAGE.read_text(encoding="utf-8")
VERSIONS = ["pyproject.toml", f"{PROJECT}/engine/pyproject.toml"]
INDEX = "https://packages.example.org/simple"

BLOCK = re.compile(
    r"^In (?P<new>a new file )?`(?P<file>[^`\n]+)`"
    r"(?:, (?P<place>below|above|in place of) the line that begins with "
    r"(?P<ticks>`+) ?(?P<line>.+?) ?(?P=ticks))?"
    r":\n\n(?P<fence>`{3,})\w+\n(?P<code>.*?)^(?P=fence)$",
    re.M | re.S,
)
"""A sentence that says where, and the code that goes there."""

# What the copy is asked: that its questions, its table, its files, its workflows and its image fit
# together. Of the combinations, those of one deployment and CI: all that the page changes is there.
CHECKS = ["answers", "layout", "workflows", "contributors"]
SELECTED = " or ".join(
    (
        "every_pair",
        "(expected_files and container-github)",
        "few_conditions",
        "registry",
        "(not_offered and support)",
        "at_once",
        "readme_has_every_question",
        "actions_is_pinned",
        "every_action",
        "rights_it_needs",
        "ends_in_time",
        "reaches_a_script",
        "github_would_accept_every_workflow",
        "zizmor_finds_nothing",
        "pinned_by_digest",
        "hadolint",
        "base_of_the_image",
    )
)


def change(template: Path) -> list[str]:
    """Make every change of the page in a template; the files that it names."""
    named = []
    for block in BLOCK.finditer(TEXT):
        file = template / block["file"]
        named.append(block["file"])
        if block["new"]:
            assert not file.exists(), file
            file.write_text(block["code"], encoding="utf-8")
            continue
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (place,) = [n for n, line in enumerate(lines) if line.strip().startswith(block["line"])]
        first, last = {"above": (0, 0), "below": (1, 1), "in place of": (0, 1)}[block["place"]]
        lines[place + first : place + last] = [block["code"]]
        file.write_text("".join(lines), encoding="utf-8")
    return named


def git(folder: Path, *words: str, fails: bool = False) -> str:
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    ended = processes.run(
        ["git", *identity, "-c", "commit.gpgsign=false", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bool(ended.returncode) == fails, ended.stdout + ended.stderr
    return ended.stdout


def set_version(template: Path, version: str) -> None:
    for name in VERSIONS:
        text = (template / name).read_text(encoding="utf-8")
        changed = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text)
        (template / name).write_text(changed, encoding="utf-8")


def release(template: Path, version: str) -> None:
    set_version(template, version)
    git(template, "commit", "--all", "--quiet", "--message", version)
    git(template, "tag", f"v{version}")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template as it is now."""
    folder = tmp_path_factory.mktemp("upstream") / "cookiecutter-model-serving"
    listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, git(ROOT, *listed).split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    make_repository(folder)
    return folder


@pytest.fixture(scope="module")
def fork(upstream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork with every change of the page, released."""
    folder = tmp_path_factory.mktemp("fork") / "cookiecutter-model-serving"
    git(upstream, "clone", "--quiet", ".", str(folder))
    change(folder)
    git(folder, "add", "--all")
    release(folder, "100.0.0")
    return folder


def test_the_page_says_where_each_of_its_lines_goes(fork: Path) -> None:
    """A question is five steps; no block of code of the page is left over."""
    steps = section(TEXT, "Add a question")
    assert len(BLOCK.findall(steps)) == len(re.findall(r"^\*\*\d\. ", steps, re.M)) == 5
    people = re.findall(r"^```yaml\n(default_context:\n.*?)^```$", TEXT, re.M | re.S)
    code = re.findall(r"^`{3,}(?!sh$)\w+$", TEXT, re.M)
    assert len(code) == len(BLOCK.findall(TEXT)) + len(people)
    changed = git(fork, "diff", "--name-only", "HEAD~1").splitlines()
    assert set(changed) == {block["file"] for block in BLOCK.finditer(TEXT)} | set(VERSIONS)


@pytest.fixture(scope="module")
def usual(fork: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the fork, with its defaults."""
    return render(tmp_path_factory.mktemp("usual") / "out", fork)


def test_an_answer_to_the_new_question_keeps_its_file_and_no_other_has_it(
    fork: Path, usual: Path, tmp_path: Path
) -> None:
    without = files(usual)
    made = files(render(tmp_path / "out", fork, support="on-call"))
    page = made.pop("docs/on-call.md").decode()
    assert "https://iris-service.example.org/readyz" in page
    assert made.keys() == without.keys()
    assert {path for path in made if made[path] != without[path]} == {".template.json"}


def test_the_forks_own_tests_pass(fork: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", SELECTED]
    words += [f"tests/test_{name}.py" for name in CHECKS]
    env = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    ended = processes.run(words, cwd=fork, env=env, capture_output=True, text=True, check=False)
    passed(ended)
    assert int(re.search(r"(\d+) passed", ended.stdout)[1]) > len(SELECTED.split(" or "))


def test_a_project_of_the_fork_asks_its_index_and_no_other(usual: Path, tmp_path: Path) -> None:
    project = shutil.copytree(usual, tmp_path / "project")
    settings = project / "pyproject.toml"
    (tmp_path / "index").mkdir()
    with serve(tmp_path / "index") as (url, asked):
        replace(settings, INDEX, f"{url}/simple")
        free = {k: v for k, v in clean_environment().items() if not k.startswith(("UV_", "PIP_"))}
        ended = processes.run(
            ["uv", "lock", "--no-cache", "--python", sys.executable],
            cwd=project,
            env={**free, "UV_PYTHON_DOWNLOADS": "never"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode
    assert any(path.startswith("/simple/") for path in asked)
    assert "was not found in the package registry" in ended.stderr


def test_a_release_of_upstream_merges_by_its_tag_and_only_versions_conflict(
    upstream: Path, fork: Path, tmp_path: Path
) -> None:
    theirs = shutil.copytree(upstream, tmp_path / "theirs")
    ours = shutil.copytree(fork, tmp_path / "ours")
    engine = f"{PROJECT}/engine/src/serving_engine/errors.py"
    with (theirs / engine).open("a", encoding="utf-8") as file:
        file.write("# A line of the next release.\n")
    release(theirs, "0.2.0")

    add, fetch, merge = [
        shlex.split(line) for line in commands(section(TEXT, "Keep up with upstream"))
    ]
    git(ours, *add[1:-1], str(theirs))
    git(ours, *fetch[1:])
    assert git(ours, "tag").split() == ["v100.0.0"]
    git(ours, *merge[1:], fails=True)
    conflicts = git(ours, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert conflicts == VERSIONS
    for name in conflicts:
        assert f"`{name}`" in TEXT
        text = (ours / name).read_text(encoding="utf-8")
        markers = r"(?ms)^<<<<<<< .*?\n(.*?)^=======\n.*?^>>>>>>> .*?\n"
        assert re.search(markers, text)[1] == 'version = "100.0.0"\n'
        (ours / name).write_text(re.sub(markers, r"\1", text), encoding="utf-8")
    git(ours, "commit", "--all", "--no-edit", "--quiet")
    assert (ours / engine).read_text("utf-8").endswith("# A line of the next release.\n")
    assert "support" in json.loads((ours / "cookiecutter.json").read_text(encoding="utf-8"))


def test_a_project_of_upstream_becomes_one_of_the_fork(
    upstream: Path, fork: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DOWNLOAD", "off")
    project = cruft.create(str(upstream), tmp_path / "out", extra_context={"author": "Ann"})
    record = project / ".cruft.json"
    for file in re.findall(r"`(\.\w+\.json)`", TEXT.partition("as\n`template` into ")[2])[:2]:
        text = (project / file).read_text(encoding="utf-8")
        old, new = (f'"template": "{folder}"' for folder in (upstream, fork))
        assert text.count(old) == 1
        (project / file).write_text(text.replace(old, new), encoding="utf-8")
    make_repository(project)
    (line,) = commands(section(TEXT, "Bring projects over"))
    command = shlex.split(line.partition(" cruft ")[2])
    updated = run([*tool("cruft"), *command, "--skip-apply-ask"], project)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert (project / "docs/on-call.md").exists()
    assert not git(project, "diff", "--name-only", "--diff-filter=U")
    assert not list(project.rglob("*.rej"))
    answers = json.loads((project / ".template.json").read_text(encoding="utf-8"))["answers"]
    assert (answers["author"], answers["support"]) == ("Ann", "on-call")
    assert json.loads(record.read_text(encoding="utf-8"))["template"] == str(fork)
