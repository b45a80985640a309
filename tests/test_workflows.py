"""Continuous integration, the template's own and the generated: valid, pinned, least privilege."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import processes
from .conftest import ROOT, Render, clean_environment, passed

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
WORKFLOWS = sorted(
    path for folder in (ROOT, TEMPLATE) for path in (folder / ".github/workflows").iterdir()
)
TOOLS = Path(sys.executable).parent
"""Where the tools of these tests are, whether PATH has them or not."""

HOOKS = [folder / ".pre-commit-config.yaml" for folder in (ROOT, TEMPLATE)]

# Who may run in our workflows, and in those of every generated project, at which commit. A new
# commit is reviewed here, once, for all of them.
PINS = {
    "actions/attest-build-provenance": ("0f67c3f4856b2e3261c31976d6725780e5e4c373", "v4.1.1"),
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    "actions/github-script": ("3a2844b7e9c422d3c10d287c895573f7108da1b3", "v9.0.0"),
    "actions/setup-python": ("5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "astral-sh/setup-uv": ("20cfd1bf945f4377ade1205e4dbc17946fc9a30d", "v10.0.1"),
    "docker/login-action": ("c94ce9fb468520275223c153574b00df6fe4bcc9", "v3.7.0"),
    "docker/setup-buildx-action": ("8d2750c68a42422c14e847fe6c8ac0403b4cbd6f", "v3.12.0"),
    "ossf/scorecard-action": ("2d1146689b8cda280b9bc96326124645441f03bc", "v2.4.4"),
    "re-actors/alls-green": ("05ac9388f0aebcb5727afa17fcccfecd6f8ec5fe", "v1.2.2"),
    "zizmorcore/zizmor-action": ("6fc4b006235f201fdab3722e17240ab420d580e5", "v0.6.1"),
}

# Every right to write that a job has, of our workflows and of the generated ones. All others may
# read the repository at most.
WRITES = {
    (ROOT, "docs.yml", "publish"): {"contents"},
    (ROOT, "release.yml", "release"): {"contents", "id-token", "attestations"},
    (ROOT, "canary.yml", "report"): {"issues"},
    (ROOT, "scorecard.yml", "rate"): {"id-token"},
    (TEMPLATE, "container.yml", "publish"): {"packages", "id-token", "attestations"},
    (TEMPLATE, "release.yml", "publish"): {"contents", "id-token", "attestations"},
    (TEMPLATE, "upgrade.yml", "upgrade"): {"contents", "pull-requests"},
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
    """Those of its jobs; a job that calls a workflow of this repository has none of its own."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


@pytest.fixture(scope="module")
def render(render: Render) -> Render:
    """Each project once: no test here changes one."""
    return cache(render)


@pytest.fixture(params=["ours", "container", "none"])
def dependabot(request: pytest.FixtureRequest, render: Render) -> Path:
    """Our configuration of Dependabot, and those that are generated."""
    folder = ROOT if request.param == "ours" else render(deployment=request.param)
    return folder / ".github/dependabot.yml"


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


def test_github_would_accept_the_configuration_of_dependabot(dependabot: Path) -> None:
    check_schema("vendor.dependabot", dependabot)


def test_gitlab_would_accept_its_pipeline() -> None:
    check_schema("vendor.gitlab-ci", TEMPLATE / ".gitlab-ci.yml", transform="gitlab-ci")


def test_zizmor_finds_nothing_and_is_told_to_ignore_nothing(render: Render) -> None:
    dependabot = (folder / ".github/dependabot.yml" for folder in (ROOT, render()))
    audited = (*WORKFLOWS, *dependabot, *HOOKS)
    run(TOOLS / "zizmor", "--offline", "--pedantic", "--no-config", "--strict-collection", *audited)
    for path in audited:
        assert "zizmor: ignore" not in path.read_text(encoding="utf-8"), path


@each_workflow
def test_every_action_is_pinned_to_a_reviewed_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (?!\$/)(.*)", text)
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
        assert writes == WRITES.get((path.parents[2], path.name, name), set()), name
        assert {right for right in granted if right not in writes} <= {"contents"}, name


@each_workflow
def test_every_job_ends_in_time_and_does_not_pile_up(path: Path) -> None:
    workflow = load(path)
    assert workflow["concurrency"]["group"]
    assert "cancel-in-progress" in workflow["concurrency"]
    for name, job in workflow["jobs"].items():
        assert job.get("uses", "").startswith("$/") or 0 < job["timeout-minutes"] <= 60, name


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


def test_updates_are_a_week_old_before_they_are_proposed(dependabot: Path) -> None:
    for entry in yaml.safe_load(dependabot.read_text(encoding="utf-8"))["updates"]:
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


def test_a_fork_calls_the_workflow_that_validates_with_what_its_makefile_has() -> None:
    called = load(ROOT / ".github/workflows/validate-template.yml")
    inputs = called["on"]["workflow_call"]["inputs"]
    assert json.loads(inputs["pythons"]["default"]) == supported_pythons(ROOT)
    tiers = re.findall(r"\btest(?:-\w+)?(?=[, )]|$)", inputs["tier"]["description"])
    assert inputs["tier"]["default"] in tiers
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(tiers) == set(re.findall(r"^(test[a-z-]*):", makefile, re.M))
    given = set(re.findall(r"inputs\.(\w+)", json.dumps(called["jobs"])))
    assert given == inputs.keys()


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


# A release: what it is made of, said in a form that machines read, and who says so.

SBOM = "--format cyclonedx1.5 --no-dev --output-file dist/sbom.cdx.json"


def test_a_release_lists_what_it_needs_and_only_what_was_built_before_is_attested() -> None:
    jobs = load(TEMPLATE / ".github/workflows/release.yml")["jobs"]
    assert SBOM in script(jobs["build"])
    assert jobs["publish"]["needs"] == "build"
    assert "uv " not in script(jobs["publish"])
    used = [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"] if "uses" in step]
    assert used == ["actions/download-artifact", "actions/attest-build-provenance"]
    pipeline = yaml.safe_load((TEMPLATE / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert SBOM in "\n".join(pipeline["wheel"]["script"])
    assert pipeline["wheel"]["artifacts"]["reports"]["cyclonedx"] in SBOM


@pytest.mark.slow
def test_the_list_names_every_package_of_the_service(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "service", ignore=shutil.ignore_patterns(".venv"))
    words = ["uv", "export", "--quiet", "--python", sys.executable, *SBOM.split()]
    ended = processes.run(
        words, cwd=copy, env=clean_environment(), capture_output=True, text=True, check=False
    )
    passed(ended)
    document = json.loads((copy / "dist/sbom.cdx.json").read_text(encoding="utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "iris-service"
    versions = {part["name"]: part["version"] for part in document["components"]}
    assert {"fastapi", "scikit-learn", "serving-engine", "uvicorn"} <= versions.keys()
    assert not {"mypy", "pytest", "ruff"} & versions.keys()


def test_a_release_of_the_template_attests_what_projects_are_made_from() -> None:
    job = load(ROOT / ".github/workflows/release.yml")["jobs"]["release"]
    commands = script(job)
    assert "git archive" in commands
    (attest,) = [step for step in job["steps"] if "attest" in step.get("uses", "")]
    assert attest["with"]["subject-path"].split() == ["dist/*", "samples/*/*"]
    assert commands.index("git archive") < commands.index("gh release create")


# The image: what it is made of, how it is tried, and what is shipped.

HARDENING = ["--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"]


def container_jobs(project: Path) -> dict[str, Any]:
    return load(project / ".github/workflows/container.yml")["jobs"]


def script(job: dict[str, Any]) -> str:
    """What a job of GitHub's runs, on one line for each command."""
    return "\n".join(step.get("run", "") for step in job["steps"]).replace("\\\n", " ")


def test_images_are_pinned_by_digest_and_dependabot_renews_them(render: Render) -> None:
    """It reads `FROM` lines alone, and each image must have one of its own."""
    project = render()
    lines = (project / "Dockerfile").read_text(encoding="utf-8").splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    stages = {line.split()[3] for line in lines if re.match(r"FROM \S+ AS \S+$", line)}
    pulled = [image for image in images if image not in stages]
    assert len(pulled) == 2
    for image in pulled:
        assert re.fullmatch(r"[\w./:-]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image
    assert not [line for line in lines if re.match("COPY --from=[^bs]", line)]
    config = yaml.safe_load((project / ".github/dependabot.yml").read_text(encoding="utf-8"))
    assert "docker" in {entry["package-ecosystem"] for entry in config["updates"]}


def test_a_project_without_an_image_asks_for_no_update_of_one(render: Render) -> None:
    text = (render(deployment="none") / ".github/dependabot.yml").read_text(encoding="utf-8")
    assert "docker" not in text


def test_each_architecture_is_run_on_its_own_machine_and_scanned_before_it_ships(
    render: Render,
) -> None:
    jobs = container_jobs(render())
    job = jobs["image"]
    runners = {row["arch"]: row["runner"] for row in job["strategy"]["matrix"]["include"]}
    assert runners == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
    assert job["runs-on"] == "${{ matrix.runner }}"
    commands = script(job)
    order = ["buildx build --load", "docker run --detach", "health=healthy", "docker stop -t 40"]
    order += ["--fail-on high", "--sbom=true --provenance=mode=max"]
    found = [commands.index(each) for each in order]
    assert found == sorted(found)
    assert jobs["publish"]["needs"] == "image"


def test_only_a_release_ships_and_only_what_was_built_before(render: Render) -> None:
    """The job that may write to the registry runs nothing of the project: it copies."""
    project = render()
    assert load(project / ".github/workflows/container.yml")["on"]["release"]["types"] == [
        "published"
    ]
    jobs = container_jobs(project)
    publish = jobs["publish"]
    assert publish["if"] == "github.event_name == 'release'"
    uses = {step["uses"].partition("@")[0] for step in publish["steps"] if "uses" in step}
    assert "actions/checkout" not in uses
    assert "actions/attest-build-provenance" in uses
    assert not re.search(r"buildx build\b|docker (build|run)\b", script(publish))
    kept = [step for step in jobs["image"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert [step["if"] for step in kept] == ["github.event_name == 'release'"]
    for arch in ("amd64", "arm64"):
        assert arch in script(publish)


def test_every_ci_runs_the_image_as_hardened_as_it_is_checked_here(render: Render) -> None:
    github = script(container_jobs(render())["image"])
    pipeline = yaml.safe_load((render(ci="gitlab") / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    gitlab = "\n".join(pipeline["container"]["script"])
    checked = (ROOT / "tests/container/check.py").read_text(encoding="utf-8")
    for flag in HARDENING:
        assert flag in github
        assert flag in gitlab
        assert f'"{flag.replace(" ", "=")}"' in checked


def test_gitlab_ships_a_tag_after_the_scan(render: Render) -> None:
    pipeline = yaml.safe_load((render(ci="gitlab") / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert {"if": "$CI_COMMIT_TAG"} in pipeline["workflow"]["rules"]
    commands = pipeline["container"]["script"]
    (push,) = [number for number, line in enumerate(commands) if "--push" in line]
    assert commands[push].startswith('if [ -n "$CI_COMMIT_TAG" ]')
    assert "--sbom=true --provenance=mode=max" in commands[push]
    assert [number for number, line in enumerate(commands) if "scan" in line][-1] < push


def test_compose_runs_the_image_hardened_and_gives_it_time_to_drain(render: Render) -> None:
    project = render()
    check_schema("vendor.compose-spec", project / "compose.yaml")
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]
    (service,) = services.values()
    assert service["build"] == "."
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user", "volumes", "network_mode"} & set(service)
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    settings = (project / "engine/src/serving_engine/settings.py").read_text(encoding="utf-8")
    drain = re.findall(r"    drain_(?:delay|timeout): Annotated\[.*\] = ([\d.]+)", settings)
    assert len(drain) == 2
    assert int(service["stop_grace_period"].removesuffix("s")) >= sum(map(float, drain)) + 5


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
