"""The command line: serve · check · predict · model, whose commands are in cli_model.py.

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
from .cli_model import add_model_commands, add_model_dir
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
    add_model_dir(serve)
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check",
        help="start up once without serving",
        description="Do everything that serve does before it listens, measure the model, prove "
        "again what its manifest says of threads and batches, then exit: 0 if all is well.",
    )
    add_model_dir(check)
    check.set_defaults(run=_check)

    predict = commands.add_parser(
        "predict",
        help="predict the rows of a file",
        description="Read rows from FILE (.csv, .json, .jsonl or .parquet; - reads JSON Lines from "
        "standard input) and print one prediction per row as JSON Lines.",
    )
    predict.add_argument("file", type=Path, metavar="FILE")
    add_model_dir(predict)
    predict.set_defaults(run=_predict)

    model = commands.add_parser("model", help="fetch, package, restore or show a model")
    add_model_commands(model.add_subparsers(required=True, metavar="COMMAND"))
    return parser


def settings_help() -> str:
    """Every setting with its default, from the settings themselves."""
    lines = ["environment variables:"]
    for name, field in Settings.model_fields.items():
        lines.append(f"  {PREFIX}{name.upper()} (default: {field.default})")
        lines.extend(f"      {line.strip()}" for line in (field.description or "").splitlines())
    return "\n".join(lines)


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
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is read is new enough
    try:
        if settings.workers > 1:
            from .serving.supervisor import supervise

            supervise(settings, _import_app)
        else:
            from .serving.heap import rest_collector

            rest_collector()
            from .serving.server import serve

            serve(_import_app()(settings), settings)
    except ServiceExit as error:
        logger.critical(str(error))
        sys.exit(error.exit_code)


def _import_app() -> Any:
    from .app import create_app

    return create_app


def _check(given: argparse.Namespace) -> None:
    from .artifact.load import read_model

    settings = load_settings(model_dir=given.model_dir)
    # Its errors wait for no import.
    manifest, data = read_model(settings.model_dir, settings.max_model_bytes)
    from .app import create_app
    from .packaging.report import build_and_weigh, facts

    loaded, memory = build_and_weigh(manifest, data)
    app = create_app(settings, loaded)

    async def start_once() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(start_once())
    lines = list(facts(loaded, memory, settings.max_batch_rows))
    print(f"ok: {manifest.name} {manifest.version} in {settings.model_dir} may be served")
    print(*lines, sep="\n")


def _predict(given: argparse.Namespace) -> None:
    from .artifact.load import load_model
    from .artifact.offline import predict_file

    settings = load_settings(model_dir=given.model_dir)
    model = load_model(settings.model_dir, settings.max_model_bytes)
    for prediction in predict_file(given.file, model, settings.max_batch_rows):
        print(json.dumps(prediction, ensure_ascii=False))
