"""The command `bench`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...service import Service
from ..model_commands import add_model_dir

if TYPE_CHECKING:
    from .client import Connection, Measured
    from .report import Run
    from .target import Query, Target

_MOST_REQUESTS = 500
_MOST = 1000
_MOST_LOAD = 10
_SPARE = 8
"""Times the connections of the closed loop, which an open loop may open."""
_OK = 200


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    bench = commands.add_parser(
        "bench",
        help="measure the latency and the throughput of the service",
        description="Find the most requests per second that a service answers, then measure the "
        "latency at shares of that, with requests at random times as from independent users. "
        "Without URL it starts the service on this machine, with the settings of the environment. "
        "Every answer is compared with the right one. Exits with code 1 if any was wrong.",
        epilog="The latencies are in milliseconds, from the time at which a request was due. "
        "Measure on a machine that does nothing else: the client needs a core of its own.",
    )
    bench.add_argument("url", nargs="?", metavar="URL", help="a service that runs already")
    bench.add_argument(
        "--file",
        type=Path,
        help="rows to send (.csv, .tsv, .json, .jsonl, .parquet); by default the golden examples",
    )
    bench.add_argument(
        "--rows", type=_count, default=1, metavar="N", help="rows in each request (default: 1)"
    )
    bench.add_argument(
        "--connections",
        type=_count,
        default=32,
        metavar="N",
        help="connections that find the most requests per second (default: 32)",
    )
    bench.add_argument(
        "--seconds", type=_seconds, default=5.0, metavar="S", help="of each run (default: 5)"
    )
    bench.add_argument(
        "--loads",
        type=_loads,
        default=(0.2, 0.5, 0.8, 1.2),
        metavar="L,L",
        help="shares of the most requests per second (default: 0.2,0.5,0.8,1.2)",
    )
    bench.add_argument(
        "--output", type=Path, metavar="FOLDER", help="a folder for bench.json and bench.svg"
    )
    add_model_dir(bench)
    bench.set_defaults(run=_bench)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"it must be from 1 to {_MOST}")
    return int(text)


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _MOST:
        raise argparse.ArgumentTypeError(f"it must be more than 0 and at most {_MOST}")
    return seconds


def _loads(text: str) -> tuple[float, ...]:
    loads = tuple(_number(each) for each in text.split(","))
    if not all(0 < load <= _MOST_LOAD for load in loads):
        raise argparse.ArgumentTypeError(f"each must be more than 0 and at most {_MOST_LOAD}")
    return loads


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _bench(service: Service, options: argparse.Namespace) -> None:
    from ...settings import load_settings
    from .own_service import own_service
    from .target import Target

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    queries = _Rows(options, settings.model_dir)
    own = own_service(service.package, str(settings.model_dir))
    with own if options.url is None else nullcontext(options.url) as url:
        runs = _measure(Target.of(url, key), queries, options)
    if options.output is not None:
        _write(options.output, runs, queries.title)
    wrong = sum(run.measured.counts["wrong"] for run in runs)
    if wrong:
        print(f"error: {wrong} answers were wrong", file=sys.stderr)
        sys.exit(1)


class _Rows:
    """The rows to send, and their predictions if they are golden examples."""

    def __init__(self, options: argparse.Namespace, model_dir: Path) -> None:
        """Raises ModelError or UsageError."""
        from ...build_model.examples import read_examples
        from ...model_files.manifest import Tolerance, read_manifest

        self.predictions: list[Any] | None = None
        self.tolerance = Tolerance()
        self.title = "a service"
        if options.file is None:
            manifest = read_manifest(model_dir)
            self.rows = [example.input for example in manifest.examples]
            self.predictions = [example.output for example in manifest.examples]
            self.tolerance = manifest.tolerance
            self.of = {"name": manifest.name, "version": manifest.version}
        else:
            columns = () if options.url else read_manifest(model_dir).signature.inputs
            self.rows = read_examples(options.file, columns).rows

    def queries(self, target: "Target", model: dict[str, Any], rows: int) -> "list[Query]":
        """Requests with their predictions, if the model that is served is known to make them."""
        from .target import Known, make_queries

        known = self.predictions if self.predictions and self.of == model else None
        self.title = f"{model['name']} {model['version']}"
        return make_queries(target, Known(self.rows, known, self.tolerance), rows, _MOST_REQUESTS)


def _measure(target: "Target", rows: _Rows, options: argparse.Namespace) -> "list[Run]":
    """Warm up, find the most requests per second, then measure shares of that."""
    from ...errors import UsageError
    from .client import Load, closed_loop, open_loop, run_client
    from .report import Run, header, row

    queries = run_client(_learn(target, rows, options.rows))
    print(f"{rows.title} at {target.host}:{target.port}, {options.rows} rows in each request")
    print(header())
    runs: list[Run] = []

    def done(name: str, measured: "Measured") -> None:
        runs.append(Run(name, measured))
        print(row(runs[-1]), flush=True)

    load = Load(target, queries, options.connections, options.seconds)
    _progress("warming up")
    run_client(closed_loop(replace(load, seconds=min(1.0, load.seconds))))
    _progress(f"as fast as {load.connections} connections can")
    most = run_client(closed_loop(load))
    done(f"{load.connections} connections", most)
    if not most.rate:
        raise UsageError("no answer was right, so that there is no load to measure.")
    many = replace(load, connections=_SPARE * load.connections)
    for number, share in enumerate(options.loads):
        rate = most.rate * share
        _progress(f"{rate:,.0f} requests per second")
        done(f"{share:.0%}", run_client(open_loop(many, rate, number)))
    return runs


async def _learn(target: "Target", rows: _Rows, per_request: int) -> "list[Query]":
    """The requests, each of which the service has answered once. Raises UsageError."""
    from .client import Connection

    connection = Connection(target)
    try:
        model = await _ask(connection, target.request("GET", "/model"))
        known = {name: model.get(name) for name in ("name", "version")}
        queries = rows.queries(target, known, per_request)
        for query in queries:
            answer = await _ask(connection, query.request)
            if query.expected is None:
                query.expected = answer["predictions"]
    finally:
        connection.close()
    return queries


async def _ask(connection: "Connection", request: bytes) -> Any:
    import asyncio

    import httptools
    import orjson

    from ...errors import UsageError
    from .client import MAX_WAIT
    from .target import Query

    try:
        async with asyncio.timeout(MAX_WAIT):
            status, body = await connection.send(Query(request))
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        raise UsageError(f"the service does not answer: {error or 'timeout'}.") from None
    try:
        document = orjson.loads(body)
    except ValueError:
        document = {}
    if status != _OK or not isinstance(document, dict):
        detail = document.get("detail", "no JSON") if isinstance(document, dict) else "no object"
        first_line = request.partition(b"\r\n")[0].decode()
        raise UsageError(f"the service answers {status} to {first_line}: {detail}")
    return document


def _progress(text: str) -> None:
    """Say what is measured, on a terminal; the next line of the table replaces it."""
    if sys.stderr.isatty():
        print(f"{text} ...\x1b[K", end="\r", file=sys.stderr, flush=True)


def _write(folder: Path, runs: "Sequence[Run]", title: str) -> None:
    import json
    import platform

    from .report import plot

    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "service": title,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "runs": [run.document() for run in runs],
    }
    (folder / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (folder / "bench.svg").write_text(plot(runs, title), encoding="utf-8")
    print(f"written: {folder / 'bench.json'}, {folder / 'bench.svg'}")
