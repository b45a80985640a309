"""Removes what was not chosen, then fetches the model. Asks nothing, and does not fail without one.

Touches the files of OPTIONAL, and model/ while that has no other model. An error deletes it all.
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

# What a file is for. These are the template's: cookiecutter has just written over any other.
OPTIONAL = {
    **dict.fromkeys(["Dockerfile", ".dockerignore"], {"deployment": ["container"]}),
    **dict.fromkeys([".github/dependabot.yml", ".github/workflows/ci.yml"], {"ci": ["github"]}),
    ".github/workflows/container.yml": {"ci": ["github"], "deployment": ["container"]},
    ".gitlab-ci.yml": {"ci": ["gitlab"]},
    "azureml.yml": {"protocols": ["all"], "deployment": ["container"]},
}
OPEN = """+api/open_inference +api/open_inference_openapi +api/statistics +schema/datatypes
    +schema/inference +schema/tensors +serving/encoding tests/engine/test_open_inference"""
CLOUD = "+api/mlflow +api/vertex +schema/scoring tests/engine/test_mlflow tests/engine/test_vertex"
for choices, names in {"open-inference all": OPEN, "all": CLOUD}.items():
    for name in names.replace("+", f"src/{ANSWERS['__package_name']}/").split():
        OPTIONAL[f"{name}.py"] = {"protocols": choices.split()}
# The SHA-256 of samples/<model_runtime>/manifest.json.
SAMPLES = {"scikit-learn": "79707f32c3d309b4418906e7990b4967d4edefec01aaf88a2882ec5e1dd19dc7"}
ADDRESS = r"(?:[\w+]+://)?(?:[^@/]+@)?(github|gitlab)\.com(?::\d+)?[/:]([\w./-]+?)(?:\.git)?/?"
RAW_FILES = {"github": "https://raw.githubusercontent.com/{}/{}/{}"}
RAW_FILES["gitlab"] = "https://gitlab.com/{}/-/raw/{}/{}"
NETWORK_SECONDS = 10


def main():
    sys.stdout.reconfigure(errors="backslashreplace")  # not every console has every letter
    project = Path.cwd()
    prune(project)
    if is_scratch_of_cruft(project):
        return 0
    sources, sha256 = wanted_model()
    service = ["uv", "run", ANSWERS["project_slug"]]
    later = [*service, "model", "fetch", sources[0] if sources else "URL"]
    later += ["--sha256", sha256] if sha256 else []
    mode = os.environ.get("MODEL_DOWNLOAD") or "auto"
    manifest = project / "model" / "manifest.json"
    ready = manifest.exists() and hashlib.sha256(manifest.read_bytes()).hexdigest() != sha256
    if ready:
        print(f"Kept the model that is in model/. To replace it:\n  {command(later)}")
    elif mode not in ("auto", "strict"):
        print(f"Fetched no model: MODEL_DOWNLOAD={mode}, and not auto or strict.")
    else:
        ready = fetch_model(project, sources, sha256)
    near = str(project.parent) == os.path.realpath(os.environ.get("PWD", ""))
    steps = [["cd", project.name if near else str(project)], later, [*service, "serve"]]
    print("Next:", *(command(step) for step in steps if step != later or not ready), sep="\n  ")
    return 1 if mode == "strict" and not ready else 0


def prune(project):
    for path, needs in OPTIONAL.items():
        if any(ANSWERS[answer] not in choices for answer, choices in needs.items()):
            with contextlib.suppress(OSError):  # a folder is the user's, and what is left in one
                (project / path).unlink(missing_ok=True)
                for folder in Path(path).parents[:-1]:
                    (project / folder).rmdir()


def is_scratch_of_cruft(project):
    """Whether cruft update or diff made TEMP/tmp*/SLUG, to move it to TEMP/tmp*/remote or so."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if "_commit" not in ANSWERS or temporary not in project.parents:
        return False
    names = ("current_template", "new_template", "remote", "local")
    at_work = any(path for name in names for path in temporary.glob(f"tmp*/{name}"))
    return project.parent.name in names or (project.parent.parent == temporary and at_work)


def wanted_model():
    """Where the model may be, best first, and the SHA-256 of its manifest if that is known."""
    url, sample = ANSWERS["_model_url"], SAMPLES[ANSWERS["model_runtime"]]
    sha256 = ANSWERS["_model_sha256"].lower() if url else sample
    checkout = locate(ANSWERS.get("_repo_dir") or ANSWERS.get("_template") or "")
    file = f"samples/{ANSWERS['model_runtime']}/manifest.json"
    sources = [(url if "://" in url else locate(url)) if url else raw_url(checkout, file)]
    if sha256 == sample and (checkout / file).is_file():  # never instead of another model
        sources.append(checkout / file)
    return [str(source) for source in sources if source], sha256 or None


def locate(path):
    """A path as the user gave it: from where cookiecutter was called, or else its output folder."""
    caller, path = os.environ.get("PWD") or "..", os.path.expanduser(path)
    places = [Path(start, path).resolve() for start in (caller, "..")]
    return next((place for place in places if place.exists()), places[0])


def raw_url(checkout, file):
    """The same file at the very commit of the template, if that came from GitHub or GitLab."""
    template = re.sub("^gh:", "github.com/", ANSWERS.get("_template") or "")
    place = re.fullmatch(ADDRESS, re.sub("^gl:", "gitlab.com/", template))
    git = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = ANSWERS.get("_commit")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        commit = commit or subprocess.check_output(git, stderr=subprocess.DEVNULL, text=True)
    return RAW_FILES[place[1]].format(place[2], commit.strip(), file) if place and commit else None


def fetch_model(project, sources, sha256):
    """Whether the model is there now; what happened is printed."""
    if not sources:
        print("Fetched no model: the template has no copy of one here.")
    file = project / f"src/{ANSWERS['__package_name']}/artifact/fetch.py"
    spec = importlib.util.spec_from_file_location("fetch", file)
    sys.dont_write_bytecode = True
    for source in sources:
        try:
            module = sys.modules["fetch"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            limits = module.Limits(total=NETWORK_SECONDS) if "://" in source else module.Limits()
            module.fetch_model(source, project / "model", sha256=sha256, limits=limits)
        except KeyboardInterrupt:
            print("Interrupted: the project is complete but for the model.")
            break
        except Exception as error:  # of any kind: the project is complete but for the model
            print(f"Fetched no model: {error}")
        else:
            print(f"The model in model/ is that of {source.partition('?')[0]}.")
            return True
    return False


def command(words):
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
