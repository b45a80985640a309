"""The command line: serve · check · predict · model fetch, package, show.

Imports that cost are made by the command that needs them: `--help` answers at once, and the
limits on threads are set before NumPy is imported.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .artifact.threads import limit_threads_of_imports
from .distribution import distribution
from .errors import ServiceExit
from .settings import PREFIX, Settings, load_settings

logger = logging.getLogger("cli")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 crash loop, 2 wrong usage, 3 start-up failed."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    limit_threads_of_imports()
    try:
        given.run(given)
    except ServiceExit as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has enough; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    about = distribution()
    parser = argparse.ArgumentParser(prog=about.name, description=about.summary)
    parser.add_argument("--version", action="version", version=f"{about.name} {about.version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve the model over HTTP",
        description="Load the model, verify it, and serve it until SIGTERM or Ctrl-C.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", help="address to listen on (SERVING_HOST)")
    serve.add_argument("--port", help="port to listen on (SERVING_PORT)")
    serve.add_argument("--workers", help="processes that serve (SERVING_WORKERS)")
    serve.add_argument(
        "--watch",
        action="store_true",
        default=None,
        help="load the model anew when its manifest changes (SERVING_WATCH)",
    )
    _add_model_dir(serve)
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check",
        help="start up once without serving",
        description="Do everything that serve does before it listens, then exit: 0 if all is well.",
    )
    _add_model_dir(check)
    check.set_defaults(run=_check)

    predict = commands.add_parser(
        "predict",
        help="predict the rows of a file",
        description="Read rows from FILE (.csv, .json, .jsonl or .parquet; - reads JSON Lines from "
        "standard input) and print one prediction per row as JSON Lines.",
    )
    predict.add_argument("file", type=Path, metavar="FILE")
    _add_model_dir(predict)
    predict.set_defaults(run=_predict)

    model = commands.add_parser("model", help="fetch, package or show a model")
    _add_model_commands(model.add_subparsers(required=True, metavar="COMMAND"))
    return parser


def settings_help() -> str:
    """Every setting with its default, from the settings themselves."""
    lines = ["environment variables:"]
    for name, field in Settings.model_fields.items():
        lines.append(f"  {PREFIX}{name.upper()} (default: {field.default})")
        lines.extend(f"      {line.strip()}" for line in (field.description or "").splitlines())
    return "\n".join(lines)


def _add_model_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="the model directory (SERVING_MODEL_DIR)"
    )


def _add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fetch = commands.add_parser(
        "fetch",
        help="download a model",
        description="Fetch a manifest.json and the artifact beside it into the model directory. "
        "Both are verified before they appear there.",
    )
    fetch.add_argument("source", metavar="URL", help="https URL or path of a manifest.json")
    fetch.add_argument("--sha256", metavar="HEX", help="what the manifest's SHA-256 must be")
    _add_model_dir(fetch)
    fetch.set_defaults(run=_model_fetch)

    package = commands.add_parser(
        "package",
        help="make a model directory from a fitted estimator",
        description="Read a fitted scikit-learn estimator and example rows; infer the signature, "
        "record golden examples, and write a model directory that `serve` accepts.",
    )
    package.add_argument("file", type=Path, metavar="FILE", help="a .joblib, .pkl or .skops file")
    package.add_argument(
        "--examples", type=Path, required=True, metavar="ROWS", help="rows: .csv, .json or .jsonl"
    )
    package.add_argument("--name", help="what the model is called (default: the file's name)")
    package.add_argument("--version", default="1", help="which version of it this is (default: 1)")
    package.add_argument("--description", default="", help="what it predicts, in a line")
    package.add_argument("--license", default="", help="under which terms it may be used")
    package.add_argument(
        "--trust", action="append", default=[], metavar="TYPE", help="a type that you reviewed"
    )
    _add_model_dir(package)
    package.set_defaults(run=_model_package)

    show = commands.add_parser("show", help="print what is recorded about the model")
    show.add_argument(
        "--example", action="store_true", help="print a body for POST /predict instead"
    )
    _add_model_dir(show)
    show.set_defaults(run=_model_show)


def _serve(given: argparse.Namespace) -> None:
    from .telemetry.logs import configure_logs

    settings = load_settings(
        host=given.host,
        port=given.port,
        workers=given.workers,
        watch=given.watch,
        model_dir=given.model_dir,
    )
    configure_logs(settings.log_format, settings.log_level)
    for sig in (signal.SIGINT, signal.SIGTERM):
        # Nothing is served yet, nothing is half-written: that was an order, and it is done.
        signal.signal(sig, lambda *_: os._exit(0))
    try:
        if settings.workers > 1:
            from .serving.supervisor import supervise

            supervise(settings, _import_app)
        else:
            from .serving.server import serve

            serve(_import_app()(settings), settings)
    except ServiceExit as error:
        logger.critical(str(error))
        sys.exit(error.exit_code)


def _import_app() -> Any:
    from .app import create_app

    return create_app


def _check(given: argparse.Namespace) -> None:
    from .app import create_app

    settings = load_settings(model_dir=given.model_dir)
    app = create_app(settings)

    async def start_once() -> str:
        async with app.router.lifespan_context(app):
            manifest = app.state.model.manifest
            return f"{manifest.name} {manifest.version}"

    print(f"ok: {asyncio.run(start_once())} in {settings.model_dir} may be served")


def _predict(given: argparse.Namespace) -> None:
    from .artifact.load import load_model
    from .artifact.offline import predict_file

    settings = load_settings(model_dir=given.model_dir)
    model = load_model(settings.model_dir, settings.max_model_bytes)
    for prediction in predict_file(given.file, model, settings.max_batch_rows):
        print(json.dumps(prediction, ensure_ascii=False))


def _model_fetch(given: argparse.Namespace) -> None:
    from .artifact.fetch import FetchError, fetch_model

    settings = load_settings(model_dir=given.model_dir)
    try:
        path = fetch_model(given.source, settings.model_dir, sha256=given.sha256)
    except FetchError as error:
        raise ServiceExit(str(error)) from None
    print(f"fetched {path}")


def _model_package(given: argparse.Namespace) -> None:
    from .packaging.package import package

    settings = load_settings(model_dir=given.model_dir)
    path = package(
        given.file,
        given.examples,
        settings.model_dir,
        name=given.name or given.file.stem,
        version=given.version,
        description=given.description,
        license=given.license,
        trusted_types=given.trust,
    )
    print(f"packaged {path}")


def _model_show(given: argparse.Namespace) -> None:
    from .artifact.manifest import read_manifest

    settings = load_settings(model_dir=given.model_dir)
    manifest = read_manifest(settings.model_dir)
    if given.example:
        print(json.dumps({"instances": [manifest.examples[0].input]}, ensure_ascii=False))
    else:
        print(manifest.model_dump_json(indent=2, exclude={"examples"}))
