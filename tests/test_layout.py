"""What is rendered: the files that are expected and no others, clean as they come out."""

import ast
import itertools
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from . import processes, rendering
from .conftest import ROOT, Render
from .rendering import CHOICES, COMBINATIONS, PROJECT, in_project, kept

TEMPLATE = ROOT / PROJECT
ENGINE = TEMPLATE / "engine"

HOSTILE_AUTHOR = 'Robert "Bob" O\'Neil \\ é ☃'


@pytest.fixture(scope="session")
def render_with_hooks(whole_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """What the command makes, which tests/test_matrix.py runs, by this process: sooner."""

    def render_with_hooks(**answers: str) -> Path:
        out = tmp_path_factory.mktemp("rendered_with_hooks") / "out"
        return rendering.render(out, whole_template, model="auto", **answers)

    return render_with_hooks


def test_every_pair_of_answers_is_rendered() -> None:
    for (one, choices), (other, others) in itertools.combinations(CHOICES.items(), 2):
        for pair in itertools.product(choices, others):
            assert pair in {(answers[one], answers[other]) for answers in COMBINATIONS}, pair


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def texts(folder: Path) -> set[str]:
    """The files of a project that people read: neither its model nor its pictures."""
    return {
        name for name in files(folder) if not (name.startswith("model/") or name.endswith(".png"))
    }


def expected(answers: dict[str, str]) -> set[str]:
    """The files of a combination: the template's own, and those that the hook writes."""
    sample = tracked(ROOT / "samples" / answers["model_runtime"])
    written = {".template.json", "engine/SHA256SUMS", *(f"model/{name}" for name in sample)}
    return {in_project(path) for path in kept(tracked(TEMPLATE), answers)} | written


def tracked(folder: Path) -> set[str]:
    """Files below `folder` that git knows or would add."""
    listed = processes.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return {name for name in listed.stdout.split("\0") if name and (folder / name).exists()}


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda answers: "-".join(answers.values()))
def test_the_expected_files_are_the_existing_files(
    render_with_hooks: Render, answers: dict[str, str]
) -> None:
    project = render_with_hooks(**answers)
    assert files(project) == expected(answers)
    assert_clean(project)


def assert_clean(project: Path) -> None:
    for name in texts(project):
        assert_clean_file(name, (project / name).read_bytes())


@cache
def assert_clean_file(name: str, data: bytes) -> None:
    """Most files are the same in every project."""
    text = data.decode("utf-8")
    assert b"\r" not in data, name
    assert not data or data.endswith(b"\n"), f"{name} ends without a newline"
    assert not re.search(r"\n\n\n\n", text), f"{name} has blank-line litter"
    assert not re.search(r"(^\n|\n\n$)", text), f"{name} begins or ends with a blank line"
    if not name.startswith((".github/", "deploy/observability/")):
        assert not re.search(r"\{\{|\{%|cookiecutter\.", text), f"{name} has a leftover"
    assert not re.search(r"cookiecutter\.\w+ *\}", text), f"{name} has a leftover"
    parse(name, text)


def parse(name: str, text: str) -> object:
    """Parse a file of a known kind; raises if it does not."""
    match Path(name).suffix:
        case ".toml":
            return tomllib.loads(text)
        case ".yml" | ".yaml":
            return yaml.safe_load(text)
        case ".json":
            return json.loads(text)
        case ".py":
            return ast.parse(text)
    return None


def test_a_difficult_author_is_carried_intact(render_with_hooks: Render) -> None:
    project = render_with_hooks(author=HOSTILE_AUTHOR)
    assert_clean(project)
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["authors"] == [{"name": HOSTILE_AUTHOR}]
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert 'Robert "Bob" O\'Neil \\\\ é ☃' in readme


def test_no_private_answer_is_rendered_outside_the_model(render_with_hooks: Render) -> None:
    mark = "/nowhere/0f1e2d3c/manifest.json"
    project = render_with_hooks(_model_url=mark)
    for name in files(project):
        if not name.startswith("model/"):
            assert b"0f1e2d3c" not in (project / name).read_bytes(), name


NAMES_HOMES = {
    "docs/model-home.md",
    "engine/pyproject.toml",
    "engine/src/serving_engine/model_files/home.py",
    "engine/src/serving_engine/model_files/model_registry.py",
    "engine/src/serving_engine/model_files/remote.py",
    "engine/tests/test_remote.py",
}
"""What names where a model may be kept, whatever the service speaks."""

TRACES = {
    "none": r"open.inference|(?<!autoscaling)/v2|triton|\bkserve|mlflow|sagemaker|vertex|azure",
    "open-inference": r"mlflow|sagemaker|vertex|azure",
}


@pytest.mark.parametrize("protocols", TRACES)
def test_what_is_not_spoken_leaves_no_trace(protocols: str, render_with_hooks: Render) -> None:
    """But in the owner's tests, which ask the service what it speaks."""
    project = render_with_hooks(protocols=protocols)
    for name in texts(project):
        if not name.startswith("tests/") and name not in NAMES_HOMES:
            text = (project / name).read_text(encoding="utf-8")
            assert not re.findall(TRACES[protocols], text, re.I), name


@pytest.mark.parametrize(
    ("deployment", "folders"), [("container", "deploy/(?!observability)"), ("none", "deploy/")]
)
def test_what_it_does_not_ship_to_leaves_no_trace(
    deployment: str, folders: str, render_with_hooks: Render
) -> None:
    project = render_with_hooks(deployment=deployment, protocols="none")
    words = rf"kubectl|kustomize|kserve|keda|{folders}"
    # The engine has the extras of every choice, and the page says who needs Ray.
    of_ray = {"engine/pyproject.toml", "docs/many-machines.md"}
    of_ray |= {f"engine/tests/test_{name}.py" for name in ("imports", "private_apis")}
    for name in texts(project):
        text = (project / name).read_text(encoding="utf-8")
        assert not re.findall(words, text, re.I), name
        assert name in of_ray or not re.findall(r"\bray\b|\bray[._-]", text, re.I), name


RUNTIME_TRACES = {
    "onnx": r"transformers\.py|model\.skops|model\.py\b(?!`\.$)",
    "python": r"transformers\.py|model\.skops|model\.onnx",
    "scikit-learn": r"model\.onnx",
}


@pytest.mark.parametrize("runtime", RUNTIME_TRACES)
def test_a_runtime_that_is_not_chosen_leaves_no_trace(
    runtime: str, render_with_hooks: Render
) -> None:
    """But in the engine, which has every runtime, and in the table of what can be chosen."""
    project = render_with_hooks(model_runtime=runtime)
    table = re.compile(r"(?s)^# Bring your own model.*?replaces\.\n")
    for name in texts(project):
        if not name.startswith("engine/"):
            text = table.sub("", (project / name).read_text(encoding="utf-8"))
            assert not re.findall(RUNTIME_TRACES[runtime], text), name


def test_the_picture_of_the_page_is_small_and_the_same_in_both_readmes() -> None:
    picture = (TEMPLATE / "docs/page.png").read_bytes()
    assert picture == (ROOT / "docs/page.png").read_bytes()
    assert len(picture) <= 60_000
    for folder in (TEMPLATE, ROOT):
        shown = re.findall(r"\]\((docs/.*?\.png)\)", (folder / "README.md").read_text("utf-8"))
        assert shown
        assert all((folder / name).is_file() for name in shown)


def test_the_template_holds_few_conditions() -> None:
    count = 0
    for name in tracked(TEMPLATE):
        if not name.startswith(".github/") and not name.endswith(".png"):
            text = (TEMPLATE / name).read_text(encoding="utf-8")
            count += sum("{%" in line for line in text.splitlines())
    assert count <= 60


def test_the_engine_holds_no_jinja() -> None:
    for name in tracked(ENGINE):
        assert not re.search(rb"\{\{|\{%|\{#|cookiecutter\.", (ENGINE / name).read_bytes()), name


def test_the_owners_python_holds_names_of_the_project_and_no_other_jinja() -> None:
    names = r"\{\{ cookiecutter\.(__package_name|project_slug) \}\}"
    for name in tracked(TEMPLATE):
        if name.endswith(".py") and not name.startswith("engine/"):
            text = (TEMPLATE / name).read_text(encoding="utf-8")
            assert not re.search(r"\{\{|\{%|\{#", re.sub(names, "", text)), name


def test_the_owner_reads_it_in_twenty_minutes() -> None:
    assert sum(lengths(TEMPLATE / "src").values()) <= 600
    assert sum(lengths(TEMPLATE / "tests").values()) <= 300


def test_a_module_of_the_engine_is_short_enough_to_read() -> None:
    assert max(lengths(ENGINE / "src").values()) <= 350


def lengths(folder: Path) -> dict[Path, int]:
    """Lines of each Python file."""
    return {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")
    }


def test_nothing_names_a_package_registry_and_no_lock_file_is_tracked() -> None:
    hosts = re.compile(rb"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org")
    for name in tracked(ROOT):
        if name == "tests/test_layout.py":
            continue
        assert not hosts.search((ROOT / name).read_bytes()), name
        assert Path(name).name not in {"uv.lock", "poetry.lock", "package-lock.json"}, name


def test_every_promise_names_a_setting_and_a_test_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \|([^|]*)\| `(\S+)::(\w+)` \|$", text, re.M)
    assert len(rows) > 30
    declared = (ENGINE / "src/serving_engine/settings.py").read_text(encoding="utf-8")
    for settings, file, test in rows:
        for name in re.findall(r"SERVING_(\w+)", settings):
            assert f"\n    {name.lower()}: " in declared, name
        path = ROOT / file if "/" in file else ENGINE / "tests" / file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), test
