"""The command `plan`."""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...service import Service
from ..bench.options import add_rows, number, seconds
from ..model_commands import add_model_dir

if TYPE_CHECKING:
    from .sizing import Plan

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {"MiB": 2**20, "GiB": 2**30, "Mi": 2**20, "Gi": 2**30, "MB": 10**6, "GB": 10**9}
_MOST_RATE = 1e9
_MOST_CORES = 256


def add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    plan = commands.add_parser(
        "plan",
        help="the replicas, workers and memory that a load needs",
        description="Start the service on this machine, with the settings of the environment, and "
        "measure what a request, a call of the model and a worker take. Then simulate workers with "
        "those times until the p99 latency holds, also when a replica is lost, and print "
        "replicas, workers, memory, what is expected at 1, 2 and 10 times the load, and values for "
        "Kubernetes.",
        epilog="A worker has a core. Latencies are those of a client on the same machine, in "
        "milliseconds: the network comes on top. Measure on a machine that is like those of the "
        "service, and does nothing else.",
    )
    plan.add_argument(
        "--rps", type=_rate, required=True, metavar="N", help="requests per second to plan for"
    )
    plan.add_argument(
        "--p99", type=_latency, required=True, metavar="TIME", help="as 25ms: 99 %% are as quick"
    )
    plan.add_argument(
        "--cpu", type=_cores, default=1, metavar="N", help="cores of each replica (default: 1)"
    )
    plan.add_argument(
        "--memory", type=_memory, metavar="SIZE", help="as 8GiB: most that each replica may have"
    )
    add_rows(plan)
    plan.add_argument(
        "--seconds", type=seconds, default=1.0, metavar="S", help="of each run (default: 1)"
    )
    plan.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a folder for plan.json, plan.svg and plan.yaml",
    )
    add_model_dir(plan)
    plan.set_defaults(run=_plan)


def _rate(text: str) -> float:
    rate = number(text.replace(",", ""))
    if not 0 < rate <= _MOST_RATE:
        raise argparse.ArgumentTypeError("it must be more than 0 and at most 1e9")
    return rate


def _cores(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_CORES:
        raise argparse.ArgumentTypeError(
            f"it must be a whole number from 1 to {_MOST_CORES}: a worker has a core"
        )
    return int(text)


def _latency(text: str) -> float:
    return _quantity(text, _SECONDS, "a time such as 25ms or 0.5s")


def _memory(text: str) -> int:
    return int(_quantity(text, _BYTES, "a size such as 512MiB or 8GiB"))


def _quantity(text: str, units: Mapping[str, float], kind: str) -> float:
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(units)})", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind}")
    return float(match[1]) * units[match[2]]


def _plan(service: Service, options: argparse.Namespace) -> None:
    from ...distribution import describe_distribution
    from ...settings import load_settings
    from ..bench.rows import KnownRows
    from .measure import measure
    from .report import kubernetes, plan_lines
    from .sizing import Goal, compute_plan

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    goal = Goal(
        rate=options.rps,
        p99=options.p99,
        rows=options.rows,
        cores=options.cpu,
        memory=options.memory,
        buffers=settings.max_buffered_bytes,
        forks=sys.platform == "linux",
    )
    rows = KnownRows(options.file, settings.model_dir)
    measured = measure(service.package, settings, rows, options.rows, options.seconds)
    plan = compute_plan(measured, goal)
    values = kubernetes(plan, describe_distribution(service.package).name)
    print(*plan_lines(plan), "", values, sep="\n", end="")
    if options.output is not None:
        _write(options.output, plan, values)


def _write(folder: Path, plan: "Plan", values: str) -> None:
    import json

    from .report import document, plot

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(plan), indent=2) + "\n"
    (folder / "plan.json").write_text(text, encoding="utf-8")
    (folder / "plan.svg").write_text(plot(plan), encoding="utf-8")
    (folder / "plan.yaml").write_text(values, encoding="utf-8")
    print(f"written: {folder / 'plan.json'}, {folder / 'plan.svg'}, {folder / 'plan.yaml'}")
