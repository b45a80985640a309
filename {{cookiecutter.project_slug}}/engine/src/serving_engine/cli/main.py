"""The command line: serve · check · doctor · predict · bench · plan · model.

Each command makes its slow imports itself: `--help` prints at once, and the limits on threads are
set before NumPy is imported. `serve` handles signals before any import that takes long.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ..errors import ServiceExit, UsageError
from .process_setup import end_on_signals, open_standard_streams

if TYPE_CHECKING:
    from ..service import Service
    from ..settings import ServingSettings

_SERVE_SETTINGS = ("host", "port", "workers", "watch", "model_dir")
"""The settings that are arguments of `serve` too."""


def run_command_line(service: "Service", arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command of a service and exit: 0 done, 1 crash loop, 2 wrong usage, 3 start-up failed.

    service: the owner's code. arguments: of the command line; by default those of the process.
    """
    if arguments is None and "serve" in sys.argv[1:2]:
        end_on_signals()
    open_standard_streams()
    from ..blas_threads import limit_threads_of_imports

    limit_threads_of_imports()
    try:
        options = build_parser(service).parse_args(arguments)
        options.run(service, options)
    except ServiceExit as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader closed standard output. Python would raise the error again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def build_parser(service: "Service") -> argparse.ArgumentParser:
    """The parser of every command."""
    from ..distribution import describe_distribution
    from .bench.command import add_bench
    from .doctor.command import add_doctor
    from .model_commands import add_model_commands, add_model_dir
    from .plan.command import add_plan
    from .predict.command import add_predict

    about = describe_distribution(service.package)
    parser = argparse.ArgumentParser(prog=about.name, description=about.summary)
    parser.add_argument("--version", action="version", version=f"{about.name} {about.version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve the model over HTTP",
        description="Load the model, verify it, and serve it until SIGTERM or Ctrl-C.",
        epilog=settings_help(service.import_settings()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", help="address to listen on (SERVING_HOST)")
    serve.add_argument("--port", help="port to listen on (SERVING_PORT)")
    serve.add_argument("--workers", help="processes that serve (SERVING_WORKERS)")
    serve.add_argument(
        "--watch",
        action="store_true",
        default=None,
        help="reload the model when its manifest changes (SERVING_WATCH)",
    )
    serve.add_argument(
        "--reload",
        action="store_true",
        help="start anew when code of the service changes, in one process: for development",
    )
    add_model_dir(serve)
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check",
        help="load and verify the model without serving it",
        description="Do everything that serve does before it listens, measure the model, repeat "
        "the probes for threads and batches that its manifest records, and compare what it needs "
        "with the dependencies of the project, then exit: 0 if the model may be served.",
    )
    add_model_dir(check)
    check.add_argument(  # `model package` reports the dependencies itself
        "--without-dependencies", action="store_true", help=argparse.SUPPRESS
    )
    check.set_defaults(run=_check)

    add_doctor(commands)
    add_predict(commands)
    add_bench(commands)
    add_plan(commands)

    model = commands.add_parser(
        "model", help="fetch, push, package, restore, show or watch a model"
    )
    add_model_commands(model.add_subparsers(required=True, metavar="COMMAND"))
    return parser


def settings_help(kind: "type[ServingSettings]") -> str:
    """The help text of every setting, with its default."""
    from ..setting_sources import PREFIX

    lines = ["environment variables:"]
    for name, field in kind.model_fields.items():
        lines.append(f"  {PREFIX}{name.upper()} (default: {field.default})")
        lines.extend(f"      {line.strip()}" for line in (field.description or "").splitlines())
    return "\n".join(lines)


def _serve(service: "Service", options: argparse.Namespace) -> None:
    import logging

    from ..distribution import describe_distribution
    from ..settings import load_settings
    from ..telemetry.logs import configure_logs

    given = {name: getattr(options, name) for name in _SERVE_SETTINGS}
    settings = load_settings(service.import_settings(), **given)
    name = describe_distribution(service.package).name
    configure_logs(
        settings.log_format, settings.log_level, os.environ.get("OTEL_SERVICE_NAME") or name
    )
    end_on_signals()
    if options.reload:
        from .code_reload import serve_with_reload

        if settings.workers > 1:
            raise UsageError("--reload is for one process. Set SERVING_WORKERS=1.")
        serve_with_reload(service, **given)
        return
    try:
        if settings.workers > 1:
            _serve_with_workers(service, settings)
        else:
            from ..heap import disable_gc
            from ..process.server import serve

            disable_gc()
            serve(service.import_create_app()(settings), settings)
    except ServiceExit as error:
        logging.getLogger("cli").critical(str(error))
        sys.exit(error.exit_code)


def _serve_with_workers(service: "Service", settings: "ServingSettings") -> None:
    if sys.platform != "linux":
        raise UsageError(
            f"SERVING_WORKERS={settings.workers} is unsupported on this system: several workers "
            "need Linux. Set SERVING_WORKERS=1."
        )
    from ..inference.observers.record_settings import check_record
    from ..process.supervisor import supervise

    check_record(settings)
    supervise(service, settings)


def _check(service: "Service", options: argparse.Namespace) -> None:
    import asyncio

    from ..distribution import engine_and_template
    from ..runtimes.load import owner_code, read_model
    from ..settings import load_settings

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    manifest, files = read_model(settings.model_dir, settings.max_model_bytes)
    if not options.without_dependencies:
        from ..build_model.dependency_advice import check_dependencies

        check_dependencies(manifest.built_with, service.package)
    # This import takes seconds: errors of `read_model` do not wait for it.
    from ..build_model.report import build_and_measure, report_lines

    loaded, memory = build_and_measure(manifest, files, owner_code(settings))
    app = service.import_create_app()(settings, loaded)

    async def start_once() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(start_once())
    lines = list(report_lines(loaded, memory, settings.max_batch_rows))
    print(f"ok: {manifest.name} {manifest.version} in {settings.model_dir} may be served")
    print("by:", ", ".join(f"{name} {version}" for name, version in engine_and_template().items()))
    print(*lines, sep="\n")
