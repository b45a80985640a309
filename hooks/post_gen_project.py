"""Removes what was not chosen, then fetches the model. Asks nothing, and does not fail without one.

It removes nothing but files of OPTIONAL, and writes nothing but model/ while that has no other
model. An exit code other than 0 makes cookiecutter delete the project that it has just made.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("This template needs a cookiecutter on Python 3.10 or newer, e.g. `uvx cookiecutter`.")

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

# As data: an answer pasted between quotes would be code.
ANSWERS = json.loads({{cookiecutter | tojson | string | tojson}})

# What is not in every project: the answers that keep it, its folder, its files there.
# Every file has its name here, those of a whole folder too: on `--overwrite-if-exists` the folder
# may hold files of the user's, which stay. The tests hold this table to the template's files.
OPTIONAL = [
    ({"deployment": ["container", "kubernetes"]}, ".", ["Dockerfile", ".dockerignore"]),
    ({"ci": ["github"]}, ".github", ["CODEOWNERS", "dependabot.yml", "workflows/ci.yml"]),
    (
        {"ci": ["github"], "deployment": ["container", "kubernetes"]},
        ".github", ["workflows/container.yml"],
    ),
    ({"ci": ["gitlab"]}, ".", [".gitlab-ci.yml"]),
    (
        {"model_runtime": ["scikit-learn"]},
        "src/{{cookiecutter.project_slug.replace('-','_')}}", ["transformers.py"],
    ),
    (
        {"model_runtime": ["python"]},
        "src/{{cookiecutter.project_slug.replace('-','_')}}", ["model.py"],
    ),
    ({"protocols": ["all"], "deployment": ["container", "kubernetes"]}, ".", ["azureml.yml"]),
    (
        {"deployment": ["container", "kubernetes"]},
        "deploy/observability",
        [
            "compose.yaml", "prometheus.yml", "rules.yml", "rules_test.yml",
            "grafana/dashboard.json", "grafana/datasource.yml", "grafana/provider.yml",
        ],
    ),
    (
        {"deployment": ["kubernetes"]},
        "deploy/kubernetes",
        [
            "base/deployment.yaml", "base/horizontalpodautoscaler.yaml", "base/kustomization.yaml",
            "base/networkpolicy.yaml", "base/poddisruptionbudget.yaml", "base/service.yaml",
            "components/keda/kustomization.yaml", "components/keda/scaledobject.yaml",
            "overlays/production/kustomization.yaml", "overlays/production/servicemonitor.yaml",
        ],
    ),
    (
        {"deployment": ["kubernetes"], "protocols": ["open-inference", "all"]},
        "deploy/kserve",
        ["runtime.yaml", "model-in-image.yaml", "model-in-storage.yaml"],
    ),
    (
        {"protocols": ["open-inference", "all"]},
        "engine/src/serving_engine/protocols/open_inference",
        [
            "__init__.py", "compression.py", "content_types.py", "datatypes.py", "messages.py",
            "openapi.py", "routes.py", "statistics.py", "tensors.py",
        ],
    ),
    ({"protocols": ["open-inference", "all"]}, "engine/tests", ["test_open_inference.py"]),
    (
        {"protocols": ["all"]},
        "engine/src/serving_engine/protocols",
        [
            "azure.py", "vertex.py", "mlflow/__init__.py", "mlflow/inputs.py",
            "mlflow/media_types.py", "mlflow/npy.py", "mlflow/outputs.py", "mlflow/routes.py",
        ],
    ),
    (
        {"protocols": ["all"]},
        "engine/tests",
        ["test_azure.py", "test_mlflow.py", "test_sagemaker.py", "test_vertex.py"],
    ),
]

SAMPLE = f"samples/{ANSWERS['model_runtime']}/manifest.json"
SAMPLE_SHA256 = {
    "scikit-learn": "79707f32c3d309b4418906e7990b4967d4edefec01aaf88a2882ec5e1dd19dc7",
    "onnx": "dd9def378a1b104232be0d89ceb62cd65b447a4c39eeea914653bbe968c01cda",
    "python": "2d7015b927256a7bf961d0168c0f3ccbaa20e694de0ce5f862827724bd09587b",
}[ANSWERS["model_runtime"]]
# The engine's, which needs nothing else of the engine: it is run by its path.
DOWNLOAD = "engine/src/serving_engine/model_files/download.py"
NETWORK_SECONDS = 10
ADDRESS = r"(?:[\w+]+://)?(?:[^@/]+@)?(github|gitlab)\.com(?::\d+)?[/:]([\w./-]+?)(?:\.git)?/?"
RAW_FILES = {
    "github": "https://raw.githubusercontent.com/{}/{}/{}",
    "gitlab": "https://gitlab.com/{}/-/raw/{}/{}",
}


def main():
    prepare_output()
    project = Path.cwd()
    prune(project)
    if is_scratch_of_cruft(project):
        return 0
    sources, sha256 = wanted_model()
    service = ["uv", "run", ANSWERS["project_slug"]]
    fetch_later = [*service, "model", "fetch", sources[0] if sources else "URL"]
    if sha256:
        fetch_later += ["--sha256", sha256]
    mode = os.environ.get("MODEL_DOWNLOAD") or "auto"
    ready = has_other_model(project, sha256)
    if ready:
        say(f"Kept the model that is in model/. To replace it:\n  {command(fetch_later)}")
    elif mode in ("auto", "strict"):
        ready = fetch_model(project, sources, sha256)
    else:
        say(f"Fetched no model: MODEL_DOWNLOAD={mode}, and not auto or strict.")
    steps = [["cd", name_from_here(project)], [*service, "serve"]]
    if not ready:
        steps.insert(1, fetch_later)
    say("Next:", *(f"  {command(step)}" for step in steps))
    return 1 if mode == "strict" and not ready else 0


def prepare_output():
    """Let every letter be printed on every console, and everything where there is no console."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed; what the download prints would fail
            setattr(sys, name, open(os.devnull, "w"))
    sys.stdout.reconfigure(errors="backslashreplace")


def say(*lines):
    """Print lines. Nobody may read them any more: that is no reason to delete the project."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")


def prune(project):
    """Remove the files of OPTIONAL that the answers do not keep, and the folders this empties."""
    for needs, folder, names in OPTIONAL:
        if all(ANSWERS[question] in choices for question, choices in needs.items()):
            continue
        for name in names:
            remove(project, project / folder / name)


def remove(project, file):
    """Remove a file and its bytecode, then each folder above it that is empty now."""
    with contextlib.suppress(OSError):  # a folder of that name is the user's, and so is its content
        file.unlink(missing_ok=True)
        bytecode = file.parent / "__pycache__"
        for compiled in bytecode.glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        if bytecode.is_dir() and not any(bytecode.iterdir()):
            bytecode.rmdir()
        for folder in file.parents:
            if folder == project:
                break
            folder.rmdir()


def is_scratch_of_cruft(project):
    """Whether cruft update or diff made TEMP/tmp*/SLUG, to move it to TEMP/tmp*/remote or so."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if "_commit" not in ANSWERS or temporary not in project.parents:
        return False
    names = ("current_template", "new_template", "remote", "local")
    at_work = any(path for name in names for path in temporary.glob(f"tmp*/{name}"))
    return project.parent.name in names or (project.parent.parent == temporary and at_work)


def has_other_model(project, sha256):
    """Whether model/ holds a model, and that is not the one that is wanted."""
    manifest = project / "model" / "manifest.json"
    return manifest.exists() and hashlib.sha256(manifest.read_bytes()).hexdigest() != sha256


def wanted_model():
    """Where the model may be, best first, and the SHA-256 of its manifest if that is known."""
    url = ANSWERS["_model_url"]
    checkout = locate(ANSWERS.get("_repo_dir") or ANSWERS.get("_template") or "")
    if not url:
        sha256 = SAMPLE_SHA256
        first = raw_url(checkout, SAMPLE)
    else:
        sha256 = ANSWERS["_model_sha256"].lower()
        first = url if "://" in url else str(locate(url))
    sources = [first] if first else []
    if sha256 == SAMPLE_SHA256 and (checkout / SAMPLE).is_file():  # never instead of another model
        sources.append(str(checkout / SAMPLE))
    return sources, sha256 or None


def locate(path):
    """A path as the user gave it: from where cookiecutter was called, or else its output folder."""
    path = os.path.expanduser(path)
    starts = [os.environ.get("PWD") or "..", ".."]
    places = [Path(start, path).resolve() for start in starts]
    return next((place for place in places if place.exists()), places[0])


def raw_url(checkout, file):
    """The same file at the very commit of the template, if that came from GitHub or GitLab."""
    template = re.sub("^gh:", "github.com/", ANSWERS.get("_template") or "")
    place = re.fullmatch(ADDRESS, re.sub("^gl:", "gitlab.com/", template))
    commit = ANSWERS.get("_commit")
    if place and not commit:
        git = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            commit = subprocess.check_output(git, stderr=subprocess.DEVNULL, text=True).strip()
    return RAW_FILES[place[1]].format(place[2], commit, file) if place and commit else None


def fetch_model(project, sources, sha256):
    """Whether the model is there now; what happened is printed."""
    if not sources:
        say("Fetched no model: the template has no copy of one here.")
    for source in sources:
        try:
            download = load_download(project)
            limits = download.Limits()
            if "://" in source:
                limits = download.Limits(total=NETWORK_SECONDS)
            download.fetch_model(source, project / "model", sha256=sha256, limits=limits)
        except KeyboardInterrupt:
            say("Interrupted: the project is complete but for the model.")
            break
        except Exception as error:  # of any kind: the project is complete but for the model
            say(f"Fetched no model: {error}")
        else:
            say(f"The model in model/ is that of {source.partition('?')[0]}.")
            return True
    return False


def load_download(project):
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("download", project / DOWNLOAD)
    module = importlib.util.module_from_spec(spec)
    sys.modules["download"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def name_from_here(project):
    """How the user names the project: by its name alone from the folder that it is in."""
    here = os.path.realpath(os.environ.get("PWD", ""))
    return project.name if str(project.parent) == here else str(project)


def command(words):
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
