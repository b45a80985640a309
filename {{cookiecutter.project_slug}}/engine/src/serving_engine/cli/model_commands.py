"""The commands about the model: fetch · push · package · restore · show · drift · card."""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import ServiceExit
from ..service import Service
from ..settings import load_settings
from .drift.command import add_drift
from .model_card import add_card


def add_model_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command for a model has."""
    parser.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="the model directory (SERVING_MODEL_DIR)"
    )


def add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands of `model`."""
    fetch = commands.add_parser(
        "fetch",
        help="download a model",
        description="Download a manifest.json and the artifact in the same directory, verify "
        "both, and write them into the model directory.",
    )
    fetch.add_argument(
        "source",
        metavar="URL",
        help="https URL or path of a manifest.json, or where `model push` put it: a URL that "
        "begins with s3://, gs://, az://, abfss://, hf:// or models:/",
    )
    fetch.add_argument("--sha256", metavar="HEX", help="expected SHA-256 of the manifest")
    fetch.set_defaults(run=_fetch)

    push = commands.add_parser(
        "push",
        help="upload the model to where it is kept",
        description="Verify the model directory and upload its files, then its manifest.json. "
        "`model fetch` with the same URL brings it back.",
    )
    push.add_argument(
        "target",
        metavar="URL",
        help="a folder for this model alone, s3://BUCKET/NAME/VERSION (or gs://, az://, abfss://, "
        "hf://), or models:/NAME of a registry",
    )
    push.add_argument(
        "--replace", action="store_true", help="replace another model that is there already"
    )
    push.add_argument("--alias", help="give the new version of a registry this alias")
    push.set_defaults(run=_push)
    for command in (fetch, push):
        command.add_argument(
            "--timeout",
            type=float,
            default=600,
            metavar="SECONDS",
            help="longest time for all of it (default: 600)",
        )

    package = commands.add_parser(
        "package",
        help="make a model directory from your model",
        description="Read a model and example rows; infer the signature, record golden "
        "examples, and write a model directory that `serve` accepts. `model restore` brings back "
        "the old model.",
    )
    _add_package_options(package)
    package.set_defaults(run=_package)

    restore = commands.add_parser(
        "restore",
        help="bring back the model that the last `model package` replaced",
        description="Swap the model with the one that it replaced; a second call undoes it.",
    )
    restore.set_defaults(run=_restore)

    show = commands.add_parser("show", help="print the manifest of the model")
    show.add_argument(
        "--example", action="store_true", help="print a body for POST /predict instead"
    )
    show.set_defaults(run=_show)
    drift, card = add_drift(commands), add_card(commands)
    for command in (fetch, push, package, restore, show, drift, card):
        add_model_dir(command)


def _add_package_options(package: argparse.ArgumentParser) -> None:
    package.add_argument(
        "file",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="the model: a .joblib, .pkl or .skops file; for the runtime python, the files and "
        "folders that your class loads; for onnx, an .onnx file or an estimator to convert",
    )
    package.add_argument(
        "--runtime",
        choices=["scikit-learn", "onnx", "python"],
        help="what will run the model (default: what runs the one that it replaces)",
    )
    package.add_argument(
        "--examples",
        required=True,
        metavar="ROWS",
        help="rows of training data: a .csv, .json, .jsonl or .parquet file, a pickled DataFrame, "
        "or JSON: '[{...}]'",
    )
    package.add_argument("--name", help="name of the model (default: the file's name)")
    package.add_argument("--version", default="1", help="version of the model (default: 1)")
    package.add_argument("--description", default="", help="what the model predicts, in one line")
    package.add_argument("--license", default="", help="license of the model")
    package.add_argument(
        "--columns",
        type=_names,
        metavar="A,B",
        help="columns of the examples that the model takes, in its order (default: the columns "
        "that it was fitted on, else all)",
    )
    package.add_argument(
        "--outputs", type=_names, metavar="A,B", help="names of the outputs, if it has several"
    )
    package.add_argument(
        "--classes",
        type=_names,
        metavar="A,B",
        help="the labels of an .onnx file, in the order of its probabilities",
    )
    package.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type that you reviewed and trust",
    )
    package.add_argument(
        "--compare",
        action="store_true",
        help="report how the predictions differ from those of the current model",
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _fetch(service: Service, options: argparse.Namespace) -> None:
    from ..model_files.download import FetchError, Limits, fetch_model
    from ..model_files.remote import fetch_remote, is_remote

    logging.getLogger().addHandler(logging.NullHandler())  # libraries warn of what they try
    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    limits = Limits(total=options.timeout, max_bytes=settings.max_model_bytes)
    fetch = fetch_remote if is_remote(options.source) else fetch_model
    try:
        path = fetch(options.source, settings.model_dir, sha256=options.sha256, limits=limits)
    except FetchError as error:
        raise ServiceExit(str(error)) from None
    print(f"fetched {path}")


def _push(service: Service, options: argparse.Namespace) -> None:
    from ..model_files.download import Limits
    from ..model_files.remote import PushError, push_model

    logging.getLogger().addHandler(logging.NullHandler())
    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    try:
        push_model(
            settings.model_dir,
            options.target,
            replace=options.replace,
            alias=options.alias,
            limits=Limits(total=options.timeout, max_bytes=settings.max_model_bytes),
            progress=_progress,
        )
    except PushError as error:
        raise ServiceExit(str(error)) from None
    print(f"pushed {settings.model_dir} to {options.target}")


def _package(service: Service, options: argparse.Namespace) -> None:
    from ..build_model.build import default_runtime, package
    from ..build_model.builder import Trust
    from ..build_model.dependency_advice import missing_dependencies
    from ..build_model.report import signature_table
    from ..model_files.manifest import read_manifest
    from ..runtimes.load import owner_code

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    code = owner_code(settings)
    checked: list[str] = []
    path = package(
        options.file,
        options.examples,
        settings.model_dir,
        name=options.name or (options.file[0].stem if options.file else service.package),
        version=options.version,
        description=options.description,
        license=options.license,
        trust=Trust(options.trust, code.transformers, _review),
        runtime=options.runtime or default_runtime(options.file, settings.model_dir, code),
        model_class=code.model_class,
        chosen=options.columns,
        outputs=options.outputs,
        classes=options.classes,
        compare=options.compare,
        progress=_progress,
        check=lambda staging: checked.append(
            _check_in_new_process(service, staging, settings.model_dir)
        ),
    )
    manifest = read_manifest(settings.model_dir)
    print(f"packaged {path}")
    print(*signature_table(manifest.signature), sep="\n")
    print(*checked, sep="\n")
    for command in missing_dependencies(manifest.built_with, service.package):
        print(f"pyproject.toml lacks a dependency of this model. Add it: {command}")


def _check_in_new_process(service: Service, staging: Path, directory: Path) -> str:
    """Run `check` in a new process, which imports only what `serve` imports; return its output."""
    from ..build_model.errors import NotPackaged

    _progress("checking the new model in a new process")
    command = [sys.executable, "-m", service.package, "check", "--model-dir", str(staging)]
    command.append("--without-dependencies")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        last = (ended.stderr.splitlines() or ["it printed no error"])[-1].removeprefix("error: ")
        raise NotPackaged(f"`check` failed: {last}")
    return ended.stdout.replace(str(staging), str(directory)).rstrip()


def _review(types: Sequence[str]) -> bool:
    """Ask on the terminal whether to trust types; without a terminal, the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        "The model holds types that are not of scikit-learn, NumPy or SciPy. Look at what each "
        "does when it is loaded and when it predicts:",
        *types,
        sep="\n  ",
    )
    return input("Trust these types in this model? [y/N] ").strip().lower() in {"y", "yes"}


def _progress(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


def _restore(service: Service, options: argparse.Namespace) -> None:
    from ..build_model.publish import restore
    from ..model_files.manifest import read_manifest
    from ..runtimes.load import owner_code

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    restore(settings.model_dir, owner_code(settings))
    manifest = read_manifest(settings.model_dir)
    print(f"restored {manifest.name} {manifest.version} in {settings.model_dir}")


def _show(service: Service, options: argparse.Namespace) -> None:
    from ..model_files.manifest import read_manifest

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    manifest = read_manifest(settings.model_dir)
    if options.example:
        print(json.dumps({"instances": [manifest.examples[0].input]}, ensure_ascii=False))
    else:
        print(manifest.model_dump_json(indent=2, exclude={"examples"}, exclude_none=True))
