"""The command `bench`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...service import Service
from ..model_commands import add_model_dir
from .options import add_rows, count, number, seconds
from .progress import progress

if TYPE_CHECKING:
    from .client import Measured
    from .report import Run
    from .rows import KnownRows
    from .target import Target

_MOST_LOAD = 10
_SPARE = 8
"""Times the connections of the closed loop, which an open loop may open."""


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
    add_rows(bench)
    bench.add_argument(
        "--connections",
        type=count,
        default=32,
        metavar="N",
        help="connections that find the most requests per second (default: 32)",
    )
    bench.add_argument(
        "--seconds", type=seconds, default=5.0, metavar="S", help="of each run (default: 5)"
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


def _loads(text: str) -> tuple[float, ...]:
    loads = tuple(number(each) for each in text.split(","))
    if not all(0 < load <= _MOST_LOAD for load in loads):
        raise argparse.ArgumentTypeError(f"each must be more than 0 and at most {_MOST_LOAD}")
    return loads


def _bench(service: Service, options: argparse.Namespace) -> None:
    from ...settings import load_settings
    from .own_service import own_service
    from .rows import KnownRows
    from .target import Target

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    queries = KnownRows(options.file, settings.model_dir, elsewhere=options.url is not None)
    own = own_service(service.package, settings.model_dir)
    with own if options.url is None else nullcontext(None) as started:
        url = options.url if started is None else started.url
        runs = _measure(Target.of(url, key), queries, options)
    if options.output is not None:
        _write(options.output, runs, queries.title)
    wrong = sum(run.measured.counts["wrong"] for run in runs)
    if wrong:
        print(f"error: {wrong} answers were wrong", file=sys.stderr)
        sys.exit(1)


def _measure(target: "Target", rows: "KnownRows", options: argparse.Namespace) -> "list[Run]":
    """Warm up, find the most requests per second, then measure shares of that."""
    from ...errors import UsageError
    from .client import Load, closed_loop, open_loop, run_client
    from .report import Run, header, row
    from .rows import learn

    queries = run_client(learn(target, rows, options.rows))
    print(f"{rows.title} at {target.host}:{target.port}, {options.rows} rows in each request")
    print(header())
    runs: list[Run] = []

    def done(name: str, measured: "Measured") -> None:
        runs.append(Run(name, measured))
        print(row(runs[-1]), flush=True)

    load = Load(target, queries, options.connections, options.seconds)
    progress("warming up")
    run_client(closed_loop(replace(load, seconds=min(1.0, load.seconds))))
    progress(f"as fast as {load.connections} connections can")
    most = run_client(closed_loop(load))
    done(f"{load.connections} connections", most)
    if not most.rate:
        raise UsageError("no answer was right, so that there is no load to measure.")
    many = replace(load, connections=_SPARE * load.connections)
    for seed, share in enumerate(options.loads):
        rate = most.rate * share
        progress(f"{rate:,.0f} requests per second")
        done(f"{share:.0%}", run_client(open_loop(many, rate, seed)))
    return runs


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
