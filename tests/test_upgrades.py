"""Upgrades, rehearsed: projects of every kept release, edited as users edit them, by cruft.

They come to a release after the present one: the template as it is, with changes of the kinds that
releases make, some of them in lines that users edit. Only the template's repository is asked.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import cruft
import pytest
import yaml

from . import kept_releases, processes
from .conftest import Run, passed
from .edits import replace
from .rendering import (
    PACKAGE,
    PROJECT,
    ROOT,
    constant,
    copy_template,
    files,
    make_repository,
    render,
    run,
    tool,
)
from .servers import closed_port

OWN = Path("src", "iris_service")
ADDRESS = "https://git.example.org/serving.git"
SECRET_ADDRESS = "https://ann:secret@git.example.org/serving.git"
ALONE = {"src/iris_service/mine.py", "model/manifest.json"}
"""Files that no release of the template changes."""


@pytest.fixture(autouse=True)
def alone(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a temporary folder of one's own, and no network; the temporary folder."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    settings = f"""
        [user]
            name = Nobody
            email = nobody@example.org
        [init]
            defaultBranch = main
        [url "{history.as_posix()}"]
            insteadOf = {ADDRESS}
            insteadOf = {SECRET_ADDRESS}
    """
    (home / ".gitconfig").write_text(settings, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(("GIT_", "MODEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    monkeypatch.setenv("HTTPS_PROXY", closed_port())
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(home / "none.yaml"))
    (home / "none.yaml").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    return temporary


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's repository: kept releases, what is present, and the release after it."""
    folder = tmp_path_factory.mktemp("history") / "template"
    for version in kept_releases.versions():
        clear(folder)
        kept_releases.unpack(version, folder)
        commit(folder, f"v{version}")
    clear(folder)
    copy_template(folder)
    commit(folder, "present")
    release_the_next(folder)
    commit(folder, "v999.0.0")
    return folder


def clear(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def commit(folder: Path, tag: str) -> None:
    make_repository(folder, tag)
    git(folder, "tag", tag)


def git(folder: Path, *words: str) -> str:
    done = processes.run(["git", *words], cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def release_the_next(template: Path) -> None:
    """Change files of every kind: of the engine and of the owner, also where owners edit."""
    project = template / PROJECT
    engine = project / "engine"
    version = re.search(r'(?m)^version = ".*"$', (engine / "pyproject.toml").read_text("utf-8"))[0]
    replace(engine / "pyproject.toml", version, 'version = "999.0.0"')
    append(engine / "src/serving_engine/text.py", "NEXT = 1\n")
    (engine / "src/serving_engine/next.py").write_text("NEXT = 1\n", encoding="utf-8")
    (engine / "tests/little_memory.py").unlink()
    own = project / "src" / PACKAGE
    replace(
        own / "app.py",
        "    # Routers of your own",
        "    # Of the next release.\n    # Routers of your own",
    )
    replace(
        own / "settings.py", "and yours beside them.", "and yours beside them, of the next release."
    )
    replace(
        own / "routes.py",
        "The routes of this service.",
        "The routes of this service, next release.",
    )
    replace(
        project / "pyproject.toml", '    "mypy>=2.4",', '    "mypy>=2.4",  # of the next release'
    )
    replace(project / "Dockerfile", "EXPOSE 8080\n", "# Of the next release.\nEXPOSE 8080\n")
    replace(project / "README.md", "## Run it\n", "## Run the next release\n")
    replace(project / ".editorconfig", "root = true\n", "# Of the next release.\nroot = true\n")
    append(project / "docs/one-engine.md", "\nOf the next release.\n")


def edit(project: Path) -> dict[str, str]:
    """Edit a project as its owner; the files, with a text in each that the owner wrote."""
    mine = {
        "src/iris_service/routes.py": "async def decide(rows: RowsDep",
        "src/iris_service/settings.py": "max_rows: int = 100",
        "src/iris_service/mine.py": "MINE = 1",
        "pyproject.toml": '"requests>=2.34"',
        "Dockerfile": "OURS=1",
        "README.md": "## Ours\n",
        "model/manifest.json": '"name": "fraud"',
    }
    append(
        project / OWN / "routes.py",
        '\n\n@router.post("/decide", summary="Decide rows")\n'
        "async def decide(rows: RowsDep, model: ModelDep) -> dict[str, object]:\n"
        '    """Whether the model is sure of each row."""\n'
        "    outputs = await model.outputs(rows)\n"
        '    return {"sure": outputs.probabilities is not None}\n',
    )
    append(
        project / OWN / "settings.py",
        '\n    max_rows: int = 100\n    """Most rows in a request."""\n',
    )
    (project / OWN / "mine.py").write_text('"""Mine."""\n\nMINE = 1\n', encoding="utf-8")
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^dependencies = \[(.*)\]$", r'dependencies = [\1, "requests>=2.34"]', text)
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    replace(project / "Dockerfile", "PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=1 OURS=1")
    append(project / "README.md", "\n## Ours\n\nOur own words.\n")
    manifest = json.loads((project / "model/manifest.json").read_text(encoding="utf-8"))
    manifest["name"] = "fraud"
    (project / "model/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (project / ".github/CODEOWNERS").unlink()
    make_repository(project, "edited")
    return mine


def made_by_cruft(history: Path, folder: Path, tag: str) -> Path:
    """A project of a release, committed as it is made."""
    project = cruft.create(str(history), folder / "out", checkout=tag, extra_context=answers())
    make_repository(project, "made")
    return project


def answers(**given: str) -> dict[str, str]:
    return {"project_name": "Iris Service", "author": 'Ann "A" O\'Neil', **given}


def fresh(history: Path, folder: Path, **given: str) -> dict[str, bytes]:
    """The files of a new project of the next release."""
    return files(cruft.create(str(history), folder, extra_context=answers(**given)))


def conflicts(project: Path) -> set[str]:
    """The files that an upgrade left to the owner."""
    unmerged = git(project, "diff", "--name-only", "--diff-filter=U").split()
    return {*unmerged, *(path.name for path in project.rglob("*.rej"))}


def assert_upgraded(project: Path, new: dict[str, bytes], mine: dict[str, str]) -> None:
    """What the owner has not touched is as in a new project, and the owner's texts are there."""
    now = {path: data for path, data in files(project).items() if not path.startswith(".git/")}
    assert {path for path, data in new.items() if now.get(path) != data} <= {
        *mine,
        ".cruft.json",
        ".github/CODEOWNERS",
    }
    for path, text in mine.items():
        assert text in now[path].decode(), path
    engine = {path for path in now if path.startswith("engine/")}
    assert engine == {path for path in new if path.startswith("engine/")}
    for line in now["engine/SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(now[f"engine/{name}"]).hexdigest() == digest, name


@pytest.mark.slow
@pytest.mark.parametrize("version", kept_releases.versions())
def test_an_upgrade_keeps_what_the_owner_edited_and_brings_all_else(
    version: str, history: Path, alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = made_by_cruft(history, tmp_path, f"v{version}")
    mine = edit(project)
    model = files(project / "model")
    assert not cruft.check(project)
    assert cruft.update(project)
    assert conflicts(project) == set()
    new = fresh(history, tmp_path / "fresh")
    assert_upgraded(project, new, mine)
    for path in mine.keys() - ALONE:
        assert re.search("next release", (project / path).read_text("utf-8"), re.I), path
    assert not (project / ".github/CODEOWNERS").exists()
    assert files(project / "model") == model
    assert [path for path in alone.iterdir() if path.is_dir()] == []
    assert cruft.check(project)
    capfd.readouterr()
    assert not cruft.diff(project, exit_code=True)
    shown = re.findall(r"^diff --git upstream-template-old/(\S+)", capfd.readouterr().out, re.M)
    assert set(shown) == mine.keys() - ALONE


@pytest.mark.slow
def test_an_upgraded_project_passes_its_checks_and_the_doctor_finds_nothing(
    history: Path, tmp_path: Path, run_in: Run
) -> None:
    project = made_by_cruft(history, tmp_path, f"v{kept_releases.versions()[-1]}")
    edit(project)
    assert cruft.update(project)
    found = run_in(project, "python", "-m", "iris_service", "doctor")
    passed(found)
    assert "999.0.0 " in found.stdout
    passed(run_in(project, "ruff", "check"))
    passed(run_in(project, "pytest"))


@pytest.mark.slow
def test_cookiecutters_project_is_linked_by_one_command_and_a_conflict_is_in_one_file(
    history: Path, tmp_path: Path
) -> None:
    first = f"v{kept_releases.versions()[0]}"
    given = [f"{key}={value}" for key, value in answers().items()]
    command = [*tool("cookiecutter"), "--no-input", "--checkout", first, SECRET_ADDRESS, *given]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "iris-service"
    record = json.loads((project / ".template.json").read_text(encoding="utf-8"))
    assert record["template"] == ADDRESS
    assert record["commit"] == git(history, "rev-parse", first)
    assert record["answers"].items() >= answers().items()
    link(project)
    make_repository(project, "made")
    assert cruft.diff(project, exit_code=True)
    mine = {"README.md": "Run ours", "Dockerfile": "EXPOSE 9090"}
    replace(project / "README.md", "## Run it\n", "## Run ours\n")
    replace(project / "Dockerfile", "EXPOSE 8080\n", "# Ours.\nEXPOSE 9090\n")
    make_repository(project, "edited")
    assert cruft.update(project)
    assert conflicts(project) == mine.keys()
    assert_upgraded(
        project, files(cruft.create(ADDRESS, tmp_path / "fresh", extra_context=answers())), mine
    )
    page = (project / "docs/upgrade.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.S)
    assert textwrap.dedent(shown) in (project / "README.md").read_text(encoding="utf-8")
    git(project, "checkout", "--theirs", "Dockerfile")
    assert "next release" in (project / "Dockerfile").read_text(encoding="utf-8")
    assert "<<<<<<<" not in (project / "Dockerfile").read_text(encoding="utf-8")
    git(project, "reset", "--hard")
    assert git(project, "status", "--porcelain") == ""


def link(project: Path) -> None:
    """`doctor --link`, in the Python of these tests, which has none of the service's libraries."""
    code = "from pathlib import Path; from serving_engine.cli.doctor.link import link; link(Path())"
    source = str(project / "engine" / "src")
    done = run([sys.executable, "-B", "-c", code], project, PYTHONPATH=source)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_package_that_was_renamed_by_hand_is_left_alone(history: Path, tmp_path: Path) -> None:
    project = made_by_cruft(history, tmp_path, "present")
    (project / OWN).rename(project / "src" / "fraud")
    mine = {"pyproject.toml": "src/fraud", "README.md": "src/fraud", "AGENTS.md": "src/fraud"}
    mine |= {path.relative_to(project).as_posix(): "" for path in (project / "tests").iterdir()}
    for path in mine:
        text = (project / path).read_text(encoding="utf-8")
        (project / path).write_text(text.replace("iris_service", "fraud"), encoding="utf-8")
    renamed = files(project / "src")
    make_repository(project, "renamed")
    assert cruft.update(project)
    assert conflicts(project) == set()
    assert files(project / "src") == renamed
    new = fresh(history, tmp_path / "fresh")
    new = {path: data for path, data in new.items() if not path.startswith("src/iris_service/")}
    assert_upgraded(project, new, mine)


@pytest.mark.slow
def test_answers_are_changed_by_an_update(history: Path, tmp_path: Path) -> None:
    project = made_by_cruft(history, tmp_path, "v999.0.0")
    append(project / OWN / "routes.py", "\n# Ours.\n")
    make_repository(project, "edited")
    page = (project / "docs/upgrade.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^uvx .* (cruft update --variables-to-update .*)$", page, re.M)
    (renaming,) = re.findall(r"`'({\"project_slug\": .*})'`", page)
    *words, variables = shlex.split(line)
    other = {**json.loads(variables), **json.loads(renaming), "ci": "gitlab"}
    done = run([*tool(words[0]), *words[1:], json.dumps(other), "--skip-apply-ask"], project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert conflicts(project) == set()
    new = fresh(history, tmp_path / "fresh", **other)
    assert_upgraded(project, new, {"src/fraud_scores/routes.py": "# Ours."})
    assert files(project).keys() - new.keys() <= {
        path for path in files(project) if path.startswith(".git/")
    }


def test_changes_that_no_commit_has_are_recorded_as_such(history: Path, tmp_path: Path) -> None:
    """Those of the template itself: a repository around it, or git's variables, do not count."""
    made = tmp_path / "made"
    (made / "engine").mkdir(parents=True)
    (made / "engine" / "pyproject.toml").write_text('version = "1.2.3"\n', encoding="utf-8")
    around = tmp_path / "around"
    template = around / "template"
    template.mkdir(parents=True)
    (template / "file").touch()
    make_repository(around)

    def recorded() -> str | None:
        module = ROOT / PROJECT / constant("RECORD")
        code = "import runpy, sys, pathlib; p = pathlib.Path\n"
        code += "write = runpy.run_path(sys.argv[1])['write_record']\n"
        code += "write(p(sys.argv[2]), {'_template': sys.argv[3]}, p(sys.argv[3]))"
        words = [sys.executable, "-B", "-c", code, module, made, template]
        done = run(words, tmp_path, GIT_DIR=str(history / ".git"))
        assert done.returncode == 0, done.stderr
        record = json.loads((made / ".template.json").read_text(encoding="utf-8"))
        assert record["template"] == template.as_posix()
        return record["commit"]

    assert recorded() is None
    head = make_repository(template)
    git(template, "tag", "v1.2.3")
    assert recorded() == head
    (template / "file").write_text("changed", encoding="utf-8")
    assert recorded() == f"{head}-dirty"


# The jobs that propose an upgrade


def scripts_of_github(project: Path) -> tuple[list[str], dict[str, str]]:
    """The commands of the upgrade's job, and its variables."""
    workflow = yaml.safe_load((project / ".github/workflows/upgrade.yml").read_text("utf-8"))
    job = workflow["jobs"]["upgrade"]
    variables = {name: text for name, text in job["env"].items() if "${{" not in text}
    return [step["run"] for step in job["steps"] if "run" in step], variables


def scripts_of_gitlab(project: Path) -> tuple[list[str], dict[str, str]]:
    """The same; its address of the project is one that git is told to find elsewhere."""
    job = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))["upgrade"]
    given = {"CI_SERVER_HOST": "git.example.org", "CI_PROJECT_PATH": "ann/iris"}
    given |= {"CI_DEFAULT_BRANCH": "main", "UPGRADE_TOKEN": "secret"}
    return job["script"], {**job["variables"], **given}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the jobs run in a shell of Linux")
@pytest.mark.parametrize(
    ("ci", "scripts"), [("github", scripts_of_github), ("gitlab", scripts_of_gitlab)]
)
def test_a_job_proposes_the_newest_release_and_what_conflicts_with_it(
    ci: str,
    scripts: Callable[[Path], tuple[list[str], dict[str, str]]],
    history: Path,
    tmp_path: Path,
) -> None:
    """The second project was edited before its first commit: git cannot merge what it never had."""
    made = {"checkout": "present", "extra_context": answers(ci=ci, deployment="none")}
    project = cruft.create(str(history), tmp_path / "out", **made)
    if ci == "github":
        make_repository(project, "made")
    replace(project / "README.md", "## Run it\n", "## Run ours\n")
    make_repository(project, "edited")
    origin = tmp_path / "origin.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(project), str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    git(project, "remote", "add", "origin", str(origin))
    git(
        project,
        "config",
        f"url.{origin}.insteadOf",
        "https://upgrade:secret@git.example.org/ann/iris.git",
    )
    tools = stand_ins(tmp_path / "tools", uvx=f'shift 2; exec "{sys.executable}" -m "$@"')
    commands, variables = scripts(project)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    for script in commands:
        done = run(["bash", "-e", "-c", script], project, PATH=path, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    pushed = git(origin, "show", "template-upgrade:engine/src/serving_engine/next.py")
    assert pushed == "NEXT = 1"
    if ci == "gitlab":
        assert "next release" in git(origin, "show", "template-upgrade:README.md.rej")
    else:
        assert "<<<<<<< ours" in git(origin, "show", "template-upgrade:README.md")
        called = (tools / "called").read_text(encoding="utf-8")
        assert "gh pr create --head template-upgrade" in called
        assert "Conflicts to resolve: README.md." in called


def stand_ins(folder: Path, **scripts: str) -> Path:
    """Commands that these tests do not have, in a folder; `gh` writes down how it was called."""
    folder.mkdir()
    scripts["gh"] = f'echo gh "$@" >> "{folder}/called"'
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


# What a release is


def test_every_release_is_kept() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changes, re.M)
    assert set(released) <= set(kept_releases.versions())


@pytest.mark.parametrize("version", kept_releases.versions())
def test_a_kept_release_names_no_registry_and_no_place_of_a_machine(
    version: str, tmp_path: Path
) -> None:
    kept_releases.unpack(version, tmp_path)
    for path, data in files(tmp_path).items():
        assert not re.search(rb"pypi\.org|pythonhosted\.org|registry\.npmjs|/work/|/home/", data), (
            path
        )


def test_template_and_engine_have_one_version() -> None:
    versions = {
        tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        for folder in (ROOT, ROOT / PROJECT / "engine")
    }
    assert len(versions) == 1


def test_an_archive_of_a_release_renders_without_git(tmp_path: Path) -> None:
    archive = tmp_path / "serving-0.1.0.zip"
    words = ["archive", "--worktree-attributes", "--prefix=serving-0.1.0/", f"--output={archive}"]
    git(ROOT, *words, "HEAD")
    with zipfile.ZipFile(archive) as opened:
        names = {name.split("/")[1] for name in opened.namelist()}
    assert {*kept_releases.PARTS, "LICENSE", "README.md"} <= names
    assert not names & {"tests", "benchmarks", ".ci", ".github"}
    project = render(tmp_path / "out", archive, model="strict")
    record = json.loads((project / ".template.json").read_text(encoding="utf-8"))
    assert record["commit"] is None
    assert (project / "model" / "manifest.json").exists()
