"""Renders the template for the tests, whole or in parts: plain functions."""

import ast
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context

from . import processes

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "{{cookiecutter.project_slug}}"
# The folder of the owner's package, in the template. It is made of the slug: `__package_name`
# can be given on the command line, and a path made of that could lead out of the project.
PACKAGE = "{{cookiecutter.project_slug.replace('-','_')}}"
PARTS = ["cookiecutter.json", "hooks", PROJECT, "templates", "samples"]
LITTER = shutil.ignore_patterns(
    "__pycache__", ".*_cache", ".venv", "*.part", ".hypothesis", ".coverage*"
)
SAMPLE = Path("samples", "scikit-learn", "manifest.json")

SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {
    key: choices
    for key, choices in SETTINGS.items()
    if isinstance(choices, list) and not key.startswith("_")
}
"""The questions with choices, and their answers."""


def all_pairs(choices):
    """Few combinations of answers in which every pair of answers to two questions is together."""
    product = [dict(zip(choices, row, strict=True)) for row in itertools.product(*choices.values())]

    def pairs(answers):
        return set(itertools.combinations(answers.items(), 2))

    left = set().union(*map(pairs, product))
    chosen = []
    while left:
        best = max(product, key=lambda answers: len(pairs(answers) & left))
        left -= pairs(best)
        chosen.append(best)
    return product if os.environ.get("ALL_COMBINATIONS") else chosen


COMBINATIONS = all_pairs(CHOICES)
"""What is rendered: `make test-all` renders every combination."""

_number = itertools.count()


def render(output, template=ROOT, *, hooks=True, overwrite=False, model="off", **answers):
    """A project in the folder `output`, made in this process; only the hooks have their own.

    model: MODEL_DOWNLOAD, as the hook sees it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with patch.dict(os.environ, MODEL_DOWNLOAD=model):
        project = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(output),
            overwrite_if_exists=overwrite,
            accept_hooks=hooks,
            default_config=own_folders(output.parent),
        )
    return Path(project)


def run(words, folder, **environment):
    """A command in `folder`, without a terminal; None unsets a variable of its environment."""
    ours = {**os.environ, "PWD": str(folder), **environment}
    return processes.run(
        [str(word) for word in words],
        cwd=folder,
        env={name: value for name, value in ours.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
    )


def tool(name):
    """The words that run cookiecutter or cruft with the Python of these tests."""
    return [sys.executable, "-m", name]


def own_folders(folder):
    return {
        "replay_dir": str(folder / ".replay"),
        "cookiecutters_dir": str(folder / ".cookiecutters"),
    }


def context(template=ROOT, **answers):
    """What cookiecutter hands to the hooks, for these answers."""
    made = generate_context(str(template / "cookiecutter.json"), extra_context=answers)
    given = {key: value for key, value in made["cookiecutter"].items() if not key.startswith("_")}
    made["cookiecutter"].update(prompt_for_config(made, no_input=True))
    made["_cookiecutter"] = given
    return made


def load_hook(name, folder, values, template=ROOT):
    """A hook as a module, filled in as cookiecutter does it."""
    source = (template / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    rendered = create_env_with_context(values).from_string(source).render(**values)
    file = folder / f"{name}_{next(_number)}.py"
    file.write_text(rendered, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    with patch.object(sys, "dont_write_bytecode", True):
        spec.loader.exec_module(module)
    return module


def constant(name, hook="post_gen_project"):
    """The value of a constant of a hook, without running that."""
    source = (ROOT / "hooks" / f"{hook}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def optional_files(rows=SETTINGS["_optional"], package=PACKAGE):
    """The files that not every project has, by path: the answers that keep each.

    rows: of the table `_optional`. package: the folder of the owner's package.
    """
    return {
        (Path(row["folder"].replace("PACKAGE", package)) / name).as_posix(): row["needs"]
        for row in rows
        for name in row["files"]
    }


def kept(paths, answers):
    """Those of the template's files, or of a project's, that one with these answers has."""
    optional = optional_files()
    needs = optional | {in_project(path): answers for path, answers in optional.items()}
    return {
        path
        for path in paths
        if all(answers[key] in values for key, values in needs.get(path, {}).items())
    }


def in_project(path, package="iris_service"):
    """Where a file of the template's is in a project."""
    return path.replace(PACKAGE, package)


def copy_template(target):
    """The template as it is now, in a folder of its own."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=LITTER)
        elif (ROOT / part).exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, target / part)
    return target


def put_model(folder, content=b"an artifact"):
    """A model for the download: a manifest and an artifact that nothing could load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.skops").write_bytes(content)
    artifact = {
        "file": "model.skops",
        "format": "skops",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "trusted_types": [],
    }
    manifest = {"schema_version": 1, "name": "iris", "version": "1", "artifact": artifact}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder / "manifest.json"


def put_sample(template, content=b"an artifact"):
    """Another sample for a copy of the template, and its SHA-256 in the hook."""
    manifest = put_model((template / SAMPLE).parent, content)
    hook = template / "hooks" / "post_gen_project.py"
    pinned = re.sub(r'"[0-9a-f]{64}"', f'"{sha256(manifest)}"', hook.read_text(encoding="utf-8"))
    hook.write_text(pinned, encoding="utf-8")
    return manifest


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder):
    """Every file below a folder: its path from there, and what is in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_repository(folder, message="a commit"):
    """Commit all that is in a folder; the commit."""
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    identity += ["-c", "commit.gpgsign=false"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for words in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--allow-empty", "--message", message],
    ):
        processes.run(["git", *words], cwd=folder, env=clean, check=True)
    head = ["git", "rev-parse", "HEAD"]
    shown = processes.run(
        head, cwd=folder, env=clean, check=True, stdout=subprocess.PIPE, text=True
    )
    return shown.stdout.strip()
