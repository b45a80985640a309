"""The commands that are about the model: fetch · package · restore · show."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import ServiceExit
from .settings import load_settings


def add_model_dir(parser: argparse.ArgumentParser) -> None:
    """The option that every command about a model has."""
    parser.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="the model directory (SERVING_MODEL_DIR)"
    )


def add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add what `model` can do."""
    fetch = commands.add_parser(
        "fetch",
        help="download a model",
        description="Fetch a manifest.json and the artifact beside it into the model directory. "
        "Both are verified before they appear there.",
    )
    fetch.add_argument("source", metavar="URL", help="https URL or path of a manifest.json")
    fetch.add_argument("--sha256", metavar="HEX", help="what the manifest's SHA-256 must be")
    fetch.set_defaults(run=_fetch)

    package = commands.add_parser(
        "package",
        help="make a model directory from a fitted estimator",
        description="Read a fitted estimator and example rows; infer the signature, record golden "
        "examples, and write a model directory that `serve` accepts. The model that was there can "
        "be restored.",
    )
    _add_package_options(package)
    package.set_defaults(run=_package)

    restore = commands.add_parser(
        "restore",
        help="bring back the model that the last `package` replaced",
        description="Exchange the model with the one that it replaced; a second time undoes it.",
    )
    restore.set_defaults(run=_restore)

    show = commands.add_parser("show", help="print what is recorded about the model")
    show.add_argument(
        "--example", action="store_true", help="print a body for POST /predict instead"
    )
    show.set_defaults(run=_show)
    for command in (fetch, package, restore, show):
        add_model_dir(command)


def _add_package_options(package: argparse.ArgumentParser) -> None:
    package.add_argument("file", type=Path, metavar="FILE", help="a .joblib, .pkl or .skops file")
    package.add_argument(
        "--examples",
        required=True,
        metavar="ROWS",
        help="rows of training data: a .csv, .json, .jsonl or .parquet file, a pickled DataFrame, "
        "or JSON: '[{...}]'",
    )
    package.add_argument("--name", help="what the model is called (default: the file's name)")
    package.add_argument("--version", default="1", help="which version of it this is (default: 1)")
    package.add_argument("--description", default="", help="what it predicts, in a line")
    package.add_argument("--license", default="", help="under which terms it may be used")
    package.add_argument(
        "--columns",
        type=_names,
        metavar="A,B",
        help="the columns of the examples that the model takes, in its order (default: those that "
        "it was fitted on, else all)",
    )
    package.add_argument(
        "--outputs", type=_names, metavar="A,B", help="what its answers are, where it gives several"
    )
    package.add_argument(
        "--trust", action="append", default=[], metavar="TYPE", help="a type that you reviewed"
    )
    package.add_argument(
        "--compare",
        action="store_true",
        help="tell first how its answers differ from those of the model that is there",
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _fetch(given: argparse.Namespace) -> None:
    from .artifact.fetch import FetchError, fetch_model

    settings = load_settings(model_dir=given.model_dir)
    try:
        path = fetch_model(given.source, settings.model_dir, sha256=given.sha256)
    except FetchError as error:
        raise ServiceExit(str(error)) from None
    print(f"fetched {path}")


def _package(given: argparse.Namespace) -> None:
    from .artifact.manifest import read_manifest
    from .packaging.package import package
    from .packaging.project import advice
    from .packaging.report import describe

    settings = load_settings(model_dir=given.model_dir)
    checked: list[str] = []
    path = package(
        given.file,
        given.examples,
        settings.model_dir,
        name=given.name or given.file.stem,
        version=given.version,
        description=given.description,
        license=given.license,
        trusted_types=given.trust,
        chosen=given.columns,
        outputs=given.outputs,
        compare=given.compare,
        review=_review,
        tell=_tell,
        check=lambda staging: checked.append(_check_afresh(staging, settings.model_dir)),
    )
    manifest = read_manifest(settings.model_dir)
    print(f"packaged {path}")
    print(*describe(manifest.signature), sep="\n")
    print(*checked, sep="\n")
    for command in advice(manifest.built_with):
        print(f"pyproject.toml lacks what this model needs to be served: {command}")


def _check_afresh(staging: Path, directory: Path) -> str:
    """What `check` prints in a process of its own, which has nothing but what `serve` has."""
    from .packaging.estimator import NotPackaged

    _tell("checking it in a process of its own")
    command = [sys.executable, "-m", str(__package__), "check", "--model-dir", str(staging)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        last = (ended.stderr.splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise NotPackaged(f"the model does not pass `check`: {last}")
    return ended.stdout.replace(str(staging), str(directory)).rstrip()


def _review(types: Sequence[str]) -> bool:
    """Ask whoever sits there; a script has `--trust`."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print("The model holds types that skops does not trust by itself:", *types, sep="\n  ")
    return input("Trust them, in this model? [y/N] ").strip().lower() in {"y", "yes"}


def _tell(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


def _restore(given: argparse.Namespace) -> None:
    from .artifact.manifest import read_manifest
    from .packaging.directory import restore

    settings = load_settings(model_dir=given.model_dir)
    restore(settings.model_dir)
    manifest = read_manifest(settings.model_dir)
    print(f"restored {manifest.name} {manifest.version} in {settings.model_dir}")


def _show(given: argparse.Namespace) -> None:
    from .artifact.manifest import read_manifest

    settings = load_settings(model_dir=given.model_dir)
    manifest = read_manifest(settings.model_dir)
    if given.example:
        print(json.dumps({"instances": [manifest.examples[0].input]}, ensure_ascii=False))
    else:
        print(manifest.model_dump_json(indent=2, exclude={"examples"}, exclude_none=True))
