"""What people work with: the task list, the container to develop in, the forms for issues."""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from . import processes
from .conftest import ROOT, Render, clean_environment, passed
from .rendering import PROJECT
from .test_workflows import check_schema

MAKEFILES = [ROOT / "Makefile", ROOT / PROJECT / "Makefile"]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
NAME = 'Robert "Bob" O\'Neil \\ é ☃'

RECORDER = '#!/bin/sh\nprintf "%s %s\\n" "$(basename "$0")" "$*" >> called\n'
"""A command that writes down how it was called, in the folder where it was."""

make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run_make(project: Path, *words: str, **variables: str) -> str:
    """What make prints, with variables of its own; it must succeed.

    It gets nothing of the make that may have started these tests, such as its ARGS.
    """
    ours = clean_environment(**variables)
    ended = processes.run(
        ["make", "--no-print-directory", *words],
        cwd=project,
        env={name: ours[name] for name in ours if name not in {"ARGS", "MAKEFLAGS"}},
        capture_output=True,
        text=True,
        check=False,
    )
    passed(ended)
    return ended.stdout


def targets(project: Path) -> list[str]:
    text = (project / "Makefile").read_text(encoding="utf-8")
    return re.findall(r"^([a-z]+):", text, re.M)


@make
@pytest.mark.parametrize("deployment", ["container", "none"])
def test_make_explains_every_task_of_a_project(deployment: str, render: Render) -> None:
    project = render(deployment=deployment)
    lines = run_make(project, "help").splitlines()
    assert [line.split()[1] for line in lines] == targets(project)
    assert all(len(line.split()) > 3 for line in lines)
    assert ("image" in targets(project)) == (deployment != "none")
    phony = re.search(r"^\.PHONY: (.*)$", (project / "Makefile").read_text("utf-8"), re.M)
    assert phony[1].split() == targets(project)


TASKS = {
    "run": ["uv run iris-service serve --reload"],
    "check": [
        "uv run ruff check",
        "uv run ruff format --check",
        "uv run mypy",
        "uv run pytest -k predict",
    ],
    "format": ["uv run ruff check --fix", "uv run ruff format"],
    "package": ["uv run --extra package iris-service model package -k predict"],
    "doctor": ["uv run iris-service doctor"],
    "engine": ["uv run --group engine pytest engine -k predict"],
    "wheel": ["uv build --wheel --out-dir dist", "uv build --wheel --out-dir dist engine"],
    "image": ["docker build --tag iris-service ."],
}


@make
def test_every_task_is_the_command_that_the_pages_have(named: Path, tmp_path: Path) -> None:
    project = named
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("uv", "docker"):
        (tools / name).write_text(RECORDER, encoding="utf-8")
        (tools / name).chmod(0o755)
    assert {*TASKS, "help", "test", "lint", "types"} == set(targets(project))
    for task, commands in TASKS.items():
        (project / "called").unlink(missing_ok=True)
        arguments = [] if task == "run" else ["ARGS=-k predict"]
        run_make(project, task, *arguments, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
        called = (project / "called").read_text(encoding="utf-8").splitlines()
        assert [line.rstrip() for line in called] == commands


@make
def test_a_task_works_in_a_project(named: Path) -> None:
    """In the environment of these tests, which has the linter: no other is made."""
    printed = run_make(named, "lint", UV_NO_SYNC="1", UV_PROJECT_ENVIRONMENT=sys.prefix)
    assert "already formatted" in printed


@pytest.mark.slow
def test_a_license_that_the_owner_chooses_goes_into_the_wheel(
    render: Render, tmp_path: Path
) -> None:
    project = render()
    readme = (project / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"```toml\n(license = .*\n)```", readme)
    settings = project / "pyproject.toml"
    before, after = settings.read_text("utf-8").split('readme = "README.md"\n')
    settings.write_text(f'{before}readme = "README.md"\n{line}{after}', encoding="utf-8")
    (project / "LICENSE").write_text("the text", encoding="utf-8")
    command = ["uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, "--python"]
    processes.run([*command, sys.executable], cwd=project, env=clean_environment(), check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        folder = "iris_service-0.1.0.dist-info"
        assert wheel.read(f"{folder}/licenses/LICENSE") == b"the text"
        assert b"License-Expression: Apache-2.0\n" in wheel.read(f"{folder}/METADATA")


@pytest.mark.parametrize("path", MAKEFILES, ids=["ours", "generated"])
def test_a_line_of_a_task_begins_with_a_tab_also_after_an_editor_saved_it(path: Path) -> None:
    assert not re.search(r"^ +\S", path.read_text(encoding="utf-8"), re.M)
    settings = (path.parent / ".editorconfig").read_text(encoding="utf-8")
    assert "[Makefile]\nindent_style = tab\n" in settings


def devcontainer(folder: Path) -> dict[str, object]:
    text = (folder / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.fixture(scope="module")
def named(render: Render) -> Path:
    return render(project_slug="iris-service", project_name=NAME)


def test_the_containers_to_develop_in_have_the_base_of_the_image(named: Path) -> None:
    """One image to review, by its digest, for work and for what ships."""
    project = named
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^FROM (\S+@sha256:[0-9a-f]{64}) AS base$", dockerfile, re.M)[1]
    for folder in (ROOT, project):
        assert devcontainer(folder)["image"] == base
    assert devcontainer(project)["name"] == NAME


def test_a_container_to_develop_in_has_what_the_first_commands_need(named: Path) -> None:
    for folder in (ROOT, named):
        made = devcontainer(folder)
        assert {"git", "make", "uv>=0.13,<1"} <= set(
            re.findall(r"[\w.<>=,]+", made["onCreateCommand"])
        )
        assert made["postCreateCommand"].startswith("uv sync && uv run pre-commit install")
        assert made["forwardPorts"] == [8000]
        environment = made["containerEnv"]["UV_PROJECT_ENVIRONMENT"]
        interpreter = made["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
        assert interpreter == f"{environment}/bin/python"


def test_github_would_accept_the_forms_for_issues() -> None:
    config = [path for path in FORMS if path.name == "config.yml"]
    forms = [path for path in FORMS if path not in config]
    assert len(config) == 1
    assert {path.stem for path in forms} == {"bug", "idea"}
    check_schema("vendor.github-issue-config", *config)
    check_schema("vendor.github-issue-forms", *forms)


def test_a_form_asks_for_what_is_recorded_and_a_flaw_is_reported_in_private() -> None:
    bug = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    required = {
        field["id"] for field in bug["body"] if field.get("validations", {}).get("required")
    }
    assert {"version", "steps", "found"} <= required
    config = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text("utf-8"))
    assert config["blank_issues_enabled"] is False
    links = [link["url"] for link in config["contact_links"]]
    assert any(link.endswith("/security/advisories/new") for link in links)


@pytest.mark.parametrize("folder", [ROOT, ROOT / PROJECT], ids=["ours", "generated"])
def test_agents_are_told_of_the_tasks(folder: Path) -> None:
    text = (folder / "AGENTS.md").read_text(encoding="utf-8")
    assert "`make help`" in text
    assert "`.devcontainer/`" in text
