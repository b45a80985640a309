"""What is rendered: the files that are expected and no others, clean as they come out."""

import ast
import itertools
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, Render

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {
    key: value for key, value in QUESTIONS.items() if isinstance(value, list) and key[0] != "_"
}
COMBINATIONS = [
    dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())
]

OPEN_INFERENCE = (
    "api/open_inference",
    "api/open_inference_openapi",
    "api/statistics",
    "schema/datatypes",
    "schema/inference",
    "schema/tensors",
    "serving/encoding",
)

# What a choice adds to the files that every project has.
ONLY_WITH = {
    "Dockerfile": ("deployment", "container"),
    ".dockerignore": ("deployment", "container"),
    ".github/workflows/container.yml": ("deployment", "container"),
    ".github": ("ci", "github"),
    ".gitlab-ci.yml": ("ci", "gitlab"),
    "azureml.yml": ("protocols", "all"),
    **dict.fromkeys(
        [f"src/iris_service/{name}.py" for name in OPEN_INFERENCE]
        + ["tests/engine/test_open_inference.py"],
        ("protocols", "open-inference", "all"),
    ),
    **dict.fromkeys(
        [f"src/iris_service/{name}.py" for name in ("api/mlflow", "api/vertex", "schema/scoring")]
        + ["tests/engine/test_mlflow.py", "tests/engine/test_vertex.py"],
        ("protocols", "all"),
    ),
}
HOSTILE_AUTHOR = 'Robert "Bob" O\'Neil \\ é ☃'


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def expected(answers: dict[str, str]) -> set[str]:
    """The files of a combination, from the template's own."""
    names = {
        name.replace("{{cookiecutter.__package_name}}", "iris_service")
        for name in tracked(TEMPLATE)
    }
    for path, (question, *values) in ONLY_WITH.items():
        if answers[question] not in values:
            names = {name for name in names if name != path and not name.startswith(f"{path}/")}
    if answers["deployment"] != "container":
        names -= {"azureml.yml"}
    return names | {"model/manifest.json", "model/model.skops"}


def tracked(folder: Path) -> set[str]:
    """Files below `folder` that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listed.stdout.split("\0") if name and (folder / name).exists()}


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda answers: "-".join(answers.values()))
def test_the_expected_files_are_the_existing_files(
    generate: Render, answers: dict[str, str]
) -> None:
    project = generate(**answers)
    assert files(project) == expected(answers)
    assert_clean(project)


def assert_clean(project: Path) -> None:
    for name in files(project) - {"model/model.skops"}:
        data = (project / name).read_bytes()
        text = data.decode("utf-8")
        assert b"\r" not in data, name
        assert not data or data.endswith(b"\n"), f"{name} ends without a newline"
        assert not re.search(r"\n\n\n\n", text), f"{name} has blank-line litter"
        assert not re.search(r"(^\n|\n\n$)", text), f"{name} begins or ends with a blank line"
        if not name.startswith(".github/"):
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


def test_a_difficult_author_is_carried_intact(generate: Render) -> None:
    project = generate(author=HOSTILE_AUTHOR)
    assert_clean(project)
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["authors"] == [{"name": HOSTILE_AUTHOR}]
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert 'Robert "Bob" O\'Neil \\\\ é ☃' in readme


def test_no_private_answer_is_rendered_outside_the_model(generate: Render) -> None:
    mark = "/nowhere/0f1e2d3c/manifest.json"
    project = generate(_model_url=mark)
    for name in files(project):
        if not name.startswith("model/"):
            assert b"0f1e2d3c" not in (project / name).read_bytes(), name


def test_source_holds_no_jinja_and_the_template_little() -> None:
    count = 0
    for name in tracked(TEMPLATE):
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        if not name.startswith(".github/"):
            count += sum("{%" in line for line in text.splitlines())
        if name.endswith(".py"):
            for line in text.splitlines():
                jinja = "{{" in line or "{%" in line
                assert not (jinja and name.startswith("src/")), name
                if jinja:
                    assert re.match(
                        r"\s*(from|import) \{\{ cookiecutter.__package_name \}\}", line
                    ), name
    assert count <= 60


def test_hooks_are_short_enough_to_read() -> None:
    for hook in (ROOT / "hooks").glob("*.py"):
        assert len(hook.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_source_is_small_enough_to_read() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in (TEMPLATE / "src").rglob("*.py")
    }
    assert max(lengths.values()) <= 250
    assert sum(lengths.values()) <= 10_400


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
    (settings_file,) = TEMPLATE.glob("src/*/settings.py")
    declared = settings_file.read_text(encoding="utf-8")
    for settings, file, test in rows:
        for name in re.findall(r"SERVING_(\w+)", settings):
            assert f"\n    {name.lower()}: " in declared, name
        path = ROOT / file if "/" in file else TEMPLATE / "tests" / "engine" / file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), test
