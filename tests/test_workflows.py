"""Continuous integration, the template's own and the generated: valid, pinned, least privilege."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import processes
from .conftest import ROOT, Render

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
WORKFLOWS = sorted(
    path for folder in (ROOT, TEMPLATE) for path in (folder / ".github/workflows").iterdir()
)
DEPENDABOT = [folder / ".github/dependabot.yml" for folder in (ROOT, TEMPLATE)]
TOOLS = Path(sys.executable).parent
"""Where the tools of these tests are, whether PATH has them or not."""

HOOKS = [folder / ".pre-commit-config.yaml" for folder in (ROOT, TEMPLATE)]

# Who may run in our workflows, and in those of every generated project, at which commit. A new
# commit is reviewed here, once, for all of them.
PINS = {
    "actions/attest-build-provenance": ("0f67c3f4856b2e3261c31976d6725780e5e4c373", "v4.1.1"),
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/github-script": ("3a2844b7e9c422d3c10d287c895573f7108da1b3", "v9.0.0"),
    "actions/setup-python": ("5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "astral-sh/setup-uv": ("20cfd1bf945f4377ade1205e4dbc17946fc9a30d", "v10.0.1"),
    "re-actors/alls-green": ("05ac9388f0aebcb5727afa17fcccfecd6f8ec5fe", "v1.2.2"),
    "zizmorcore/zizmor-action": ("6fc4b006235f201fdab3722e17240ab420d580e5", "v0.6.1"),
}

# Every right to write that a job has. All others may read the repository at most.
WRITES = {
    ("release.yml", "release"): {"contents", "id-token", "attestations"},
    ("canary.yml", "report"): {"issues"},
    ("upgrade.yml", "upgrade"): {"contents", "pull-requests"},
}

# Started by others with our rights.
FORBIDDEN_TRIGGERS = {"pull_request_target", "workflow_run", "issue_comment"}

# What Jinja, a Dockerfile or a shell could misread.
HOSTILE = "O'Neil's \"best\" for $5, not $HOME or ${PATH}, a \\ and a `backtick`, <ü> 😀"

each_workflow = pytest.mark.parametrize(
    "path", WORKFLOWS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def load(path: Path) -> dict[str, Any]:
    """A workflow, with its triggers under `on`, which YAML 1.1 reads as true."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)
    return workflow


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def run(*command: str | Path) -> None:
    """Fail with the output of a command that failed."""
    ended = processes.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


def check_schema(schema: str, *paths: Path, transform: str | None = None) -> None:
    """Validate files by a schema that check-jsonschema brings along."""
    options = ["--data-transform", transform] if transform else []
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *options, *paths)


def test_github_would_accept_every_workflow() -> None:
    check_schema("vendor.github-workflows", *WORKFLOWS)
    check_schema("vendor.dependabot", *DEPENDABOT)


def test_gitlab_would_accept_its_pipeline() -> None:
    check_schema("vendor.gitlab-ci", TEMPLATE / ".gitlab-ci.yml", transform="gitlab-ci")


def test_zizmor_finds_nothing_and_is_told_to_ignore_nothing() -> None:
    audited = (*WORKFLOWS, *DEPENDABOT, *HOOKS)
    run(TOOLS / "zizmor", "--offline", "--pedantic", "--no-config", "--strict-collection", *audited)
    for path in audited:
        assert "zizmor: ignore" not in path.read_text(encoding="utf-8"), path


@each_workflow
def test_every_action_is_pinned_to_a_reviewed_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: *(.*)", text)
    assert len(used) == sum("uses" in step for step in steps(load(path)))
    for line in used:
        pinned = re.fullmatch(r"([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
        assert pinned, f"{line}: not pinned as ACTION@COMMIT # VERSION"
        action, *pin = pinned.groups()
        assert tuple(pin) == PINS[action], action


def test_every_pin_is_used() -> None:
    used = [step.get("uses", "") for path in WORKFLOWS for step in steps(load(path))]
    assert {line.partition("@")[0] for line in used if line} == set(PINS)


@each_workflow
def test_a_job_has_the_rights_it_needs_and_no_others(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        granted = job["permissions"]
        writes = {right for right, level in granted.items() if level == "write"}
        assert writes == WRITES.get((path.name, name), set()), name
        assert {right for right in granted if right not in writes} <= {"contents"}, name


@each_workflow
def test_every_job_ends_in_time_and_does_not_pile_up(path: Path) -> None:
    workflow = load(path)
    assert workflow["concurrency"]["group"]
    assert "cancel-in-progress" in workflow["concurrency"]
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name


@each_workflow
def test_nothing_from_outside_reaches_a_script(path: Path) -> None:
    workflow = load(path)
    assert not FORBIDDEN_TRIGGERS & set(workflow["on"])
    for step in steps(workflow):
        script = step.get("run", "") + step.get("with", {}).get("script", "")
        assert "${{" not in script, step


@each_workflow
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    for step in steps(load(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"].keys() <= {"persist-credentials", "fetch-depth"}
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", DEPENDABOT, ids=["ours", "generated"])
def test_updates_are_a_week_old_before_they_are_proposed(path: Path) -> None:
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["updates"]:
        assert entry["cooldown"]["default-days"] >= 7, entry["package-ecosystem"]


def test_generated_workflows_are_copied_as_they_are(render: Render) -> None:
    project = render(project_name=HOSTILE)
    for path in (TEMPLATE / ".github/workflows").iterdir():
        assert (project / ".github/workflows" / path.name).read_bytes() == path.read_bytes()


def test_ci_runs_every_python_that_the_project_supports(render: Render) -> None:
    project = render()
    for folder in (ROOT, project):
        tests = load(folder / ".github/workflows/ci.yml")["jobs"]["test"]
        assert tests["strategy"]["matrix"]["python"] == supported_pythons(folder)
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert pipeline["test"]["parallel"]["matrix"] == [{"PYTHON": supported_pythons(project)}]


def supported_pythons(folder: Path) -> list[str]:
    """Every minor release that a pyproject.toml allows."""
    settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    requires = settings["project"]["requires-python"]
    lowest, above = re.findall(r"3\.(\d+)", requires)
    assert requires == f">=3.{lowest},<3.{above}"
    return [f"3.{minor}" for minor in range(int(lowest), int(above))]


def test_ci_and_hooks_use_only_tools_that_the_project_installs(render: Render) -> None:
    project = render()
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    engine = tomllib.loads((project / "engine" / "pyproject.toml").read_text(encoding="utf-8"))
    tools = settings["dependency-groups"]["dev"]
    assert "serving-engine[test]" in tools
    tools += engine["project"]["optional-dependencies"]["test"]
    installed = {re.match(r"[\w-]+", tool)[0] for tool in tools}
    for name in (".github/workflows/ci.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"):
        text = (project / name).read_text(encoding="utf-8")
        used = re.findall(r"\buv run (?:--no-sync )?([\w-]+)(?: run -m ([\w-]+))?", text)
        assert used
        assert {tool for words in used for tool in words if tool} - {"python"} <= installed, name


@pytest.mark.parametrize("path", HOOKS, ids=["ours", "generated"])
def test_hooks_fetch_nothing_but_what_the_project_installs(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] in {"system", "pygrep", "fail"}, hook["id"]


def test_hadolint_finds_nothing_in_the_dockerfile(render: Render) -> None:
    hadolint = TOOLS / "hadolint"
    if shutil.which(hadolint) is None:
        pytest.skip("hadolint has no wheel for this platform")
    run(hadolint, "--failure-threshold=style", render(project_name=HOSTILE) / "Dockerfile")


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_the_image_has_the_system_library_of_lightgbm_where_that_is_installed(
    library: str, render: Render, tmp_path: Path
) -> None:
    text = (render() / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = [line for line in text.splitlines() if line.startswith("RUN") and "apt-get" in line]
    (tmp_path / f".venv/lib/python3.13/site-packages/{library}").mkdir(parents=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("apt-get", "rm"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> called\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    command = ["/bin/sh", "-c", line.removeprefix("RUN")]
    processes.run(command, cwd=tmp_path, env={"PATH": str(tools)}, check=True)
    called = tmp_path / "called"
    assert called.exists() == (library == "lightgbm")
    if called.exists():
        update, install, _ = called.read_text(encoding="utf-8").splitlines()
        assert update == "apt-get update"
        assert install == "apt-get install --yes --no-install-recommends libgomp1"


def test_labels_of_the_image_say_what_was_answered(render: Render) -> None:
    project = render(project_slug="iris", project_name=HOSTILE, description=HOSTILE, author=HOSTILE)
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*)"', dockerfile))
    # The Dockerfile's own rule: in double quotes, a backslash takes the meaning from what follows.
    read = {name: re.sub(r"\\(.)", r"\1", text) for name, text in labels.items()}
    assert read == dict.fromkeys(("title", "description", "authors"), HOSTILE)
    unescaped = re.sub(r"\\.", "", "".join(labels.values()))
    assert "$" not in unescaped
    assert '"' not in unescaped


def test_the_entry_point_is_the_command_and_needs_no_shell(render: Render) -> None:
    lines = (render(project_slug="my-iris") / "Dockerfile").read_text(encoding="utf-8").splitlines()
    forms = [
        json.loads(line.partition(" ")[2]) for line in lines if re.match("ENTRYPOINT|CMD", line)
    ]
    assert forms == [["my-iris"], ["serve"]]
