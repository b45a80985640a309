"""Removes what was not chosen, records the template, fetches the model; does not fail without one.

It removes nothing but files of `_optional` in cookiecutter.json, and writes nothing but
.template.json, engine/SHA256SUMS and model/ while that has no other model. An exit code other than
0 makes cookiecutter delete the project that it has just made.
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

SAMPLE = f"samples/{ANSWERS['model_runtime']}/manifest.json"
SAMPLE_SHA256 = {
    "scikit-learn": "5a94779a19a3a1444912178319691e14606f88a5f5f92eca73f470325681335d",
    "onnx": "68f7bbd8f8596f87cb82e8ce70bd0b370e9cf4e78a551713a30b58e68a997afd",
    "python": "07dd5d467d6baa42236ae8e1c7e9488c988f748660160acbd1716100c9277d85",
}[ANSWERS["model_runtime"]]
# The engine's, which need nothing else of the engine: they are run by their paths.
DOWNLOAD = "engine/src/serving_engine/model_files/download.py"
RECORD = "engine/src/serving_engine/template_record.py"
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
    checkout = locate(ANSWERS.get("_repo_dir") or ANSWERS.get("_template") or "")
    commit = record_template(project, checkout)
    if is_scratch_of_cruft(project):
        return 0
    sources, sha256 = wanted_model(checkout, commit)
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
    """Remove the optional files that the answers do not keep, and the folders this empties.

    Every file has its name in the table, those of a whole folder too: on `--overwrite-if-exists` the
    folder may hold files of the user's, which stay.
    """
    package = ANSWERS["project_slug"].replace("-", "_")
    for row in ANSWERS["_optional"]:
        if all(ANSWERS[question] in choices for question, choices in row["needs"].items()):
            continue
        for name in row["files"]:
            remove(project, project / row["folder"].replace("PACKAGE", package) / name)


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


def record_template(project, checkout):
    """The commit of the template, which is recorded too: cruft compares the records of two."""
    try:
        return load_module(project, RECORD).write_record(project, ANSWERS, checkout).commit
    except Exception as error:  # of any kind: the project is complete but for the record
        say(f"Recorded no template: {error}")


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


def wanted_model(checkout, commit):
    """Where the model may be, best first, and the SHA-256 of its manifest if that is known."""
    url = ANSWERS["_model_url"]
    if not url:
        sha256 = SAMPLE_SHA256
        first = raw_url(commit, SAMPLE)
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


def raw_url(commit, file):
    """The same file at the very commit of the template, if that came from GitHub or GitLab."""
    template = re.sub("^gh:", "github.com/", ANSWERS.get("_template") or "")
    place = re.fullmatch(ADDRESS, re.sub("^gl:", "gitlab.com/", template))
    commit = (commit or "").removesuffix("-dirty")
    return RAW_FILES[place[1]].format(place[2], commit, file) if place and commit else None


def fetch_model(project, sources, sha256):
    """Whether the model is there now; what happened is printed."""
    if not sources:
        say("Fetched no model: the template has no copy of one here.")
    for source in sources:
        try:
            download = load_module(project, DOWNLOAD)
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


def load_module(project, path):
    sys.dont_write_bytecode = True
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, project / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
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
