"""What `plan` expects beside what the real service does, at three loads.

    make bench ARGS=--plan
    make bench ARGS='--plan --models forest --rounds 3 --write'

Each round measures the service as `plan` does, then asks it for predictions at random times, at 50,
80 and 120 % of the most that closed loops get, and simulates the same. Both are compared in answers
per second and in latency; the goal is a ratio within 20 % of 1. The service runs on core 0, with a
queue of 64 requests, so that it is full within the run; the client runs on core 1. The command ends
with code 1 where a ratio is farther off.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOADS = (0.5, 0.8, 1.2)
QUEUE, CONNECTIONS = 64, 192
ROWS = {"logreg": 50, "forest": 20}
"""Rows of each request: enough of them that a client in Python keeps up."""
TOLERANCE = 0.2
COMPARED = ("answered", "p99")


def measure_plan(
    arguments: argparse.Namespace, project: Path, data: Path, packaged: dict[str, Path]
) -> int:
    """Measure every model in every round, print, and write if asked to; returns the exit code.

    project: rendered, with an environment. packaged: the model directories, by model.
    """
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    (package,) = (path.name for path in (project / "src").iterdir())
    for number in range(arguments.rounds):
        for model, directory in packaged.items():
            given = [package, directory.resolve(), data / "rows.csv", str(ROWS.get(model, 1))]
            ended = subprocess.run(
                [project.resolve() / ".venv/bin/python", __file__, *given]
                + [str(arguments.seconds), str(number)],
                cwd=project,
                check=True,
                stdout=subprocess.PIPE,
            )
            for run in json.loads(ended.stdout):
                found.setdefault((model, run["load"]), []).append(run)
                print(f"{model} round {number + 1} {describe(run)}", flush=True)
    lines = list(table(found, arguments))
    print("\n".join(lines))
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(abs(ratio - 1) > TOLERANCE for ratio in ratios(found).values()))


def describe(run: dict[str, Any]) -> str:
    """One load of one round, in a line."""
    real, expected = run["real"], run["expected"]
    pairs = (f"{name} {real[name]:.2f} ({expected[name]:.2f})" for name in real)
    return f"{run['load']:.0%}: {'  '.join(pairs)}" + run["note"]


def ratios(
    found: dict[tuple[str, float], list[dict[str, Any]]],
) -> dict[tuple[str, float, str], float]:
    """The medians over the rounds of what was expected, divided by what was measured."""
    return {
        (model, load, name): statistics.median(
            run["expected"][name] / run["real"][name] for run in runs
        )
        for (model, load), runs in found.items()
        for name in COMPARED
    }


def table(
    found: dict[tuple[str, float], list[dict[str, Any]]], arguments: argparse.Namespace
) -> Iterator[str]:
    yield "# The plan and the service"
    yield ""
    yield (
        f"    make bench ARGS='--plan --rounds {arguments.rounds} --seconds {arguments.seconds:g} "
        "--write'"
    )
    yield ""
    yield (
        "Medians over the rounds: measured, and in brackets what `plan` expects. The ratio is "
        "expected / measured. One worker on one core, a queue of 64 requests, open loop."
    )
    yield ""
    yield "| model | rows | load | answers/s | p50 (ms) | p99 (ms) | no prediction | ratios |"
    yield "|---|---|---|---|---|---|---|---|"
    all_ratios = ratios(found)
    for (model, load), runs in found.items():

        def both(name: str, digits: str, runs: list[dict[str, Any]] = runs) -> str:
            real, expected = (
                statistics.median(run[side][name] for run in runs) for side in ("real", "expected")
            )
            return f"{real:{digits}} ({expected:{digits}})"

        rate, p99 = (all_ratios[model, load, name] for name in COMPARED)
        yield (
            f"| {model} | {ROWS.get(model, 1)} | {load:.0%} | {both('answered', ',.0f')} | "
            f"{both('p50', '.2f')} | {both('p99', '.2f')} | {both('lost', '.1%')} | "
            f"{rate:.2f}, {p99:.2f} |"
        )


# In the environment of the project


def main() -> None:
    """Measure one model once; print the loads as JSON."""
    from serving_engine.cli.bench import rows as bench_rows
    from serving_engine.cli.bench.client import Load, closed_loop, open_loop, run_client
    from serving_engine.cli.bench.own_service import own_service
    from serving_engine.cli.bench.report import Run, percentile
    from serving_engine.cli.bench.target import Target
    from serving_engine.cli.plan import measure as measuring
    from serving_engine.cli.plan.simulate import LATE, REFUSED, simulate
    from serving_engine.settings import ServingSettings

    package, model_dir, file, rows, seconds, seed = sys.argv[1:]
    os.environ |= {"SERVING_ACCESS_LOG": "false", "SERVING_MAX_QUEUED_REQUESTS": str(QUEUE)}
    settings = ServingSettings(
        model_dir=Path(model_dir), max_queued_requests=QUEUE, access_log=False
    )
    known = bench_rows.KnownRows(Path(file), settings.model_dir)

    @contextmanager
    def on_its_core(*arguments: Any, **variables: Any) -> Iterator[Any]:
        os.sched_setaffinity(0, {0})
        with own_service(*arguments, **variables) as service:
            os.sched_setaffinity(0, {1})
            yield service

    measuring.own_service = on_its_core
    measured = measuring.measure(package, settings, known, int(rows), 1.0)
    worker = measured.worker
    print(f"{worker.turn=} {worker.request=} {worker.refusal=} {worker.inline=}", file=sys.stderr)
    found = []
    with on_its_core(package, settings.model_dir, SERVING_WORKERS=1) as service:
        target = Target.of(service.url, None)
        queries = run_client(bench_rows.learn(target, known, int(rows)))
        load = Load(target, queries, QUEUE, float(seconds))
        run_client(closed_loop(Load(target, queries, QUEUE, 1.0)))
        most = run_client(closed_loop(load)).rate
        for share in LOADS:
            rate = share * most
            many = Load(target, queries, CONNECTIONS, float(seconds))
            real = run_client(open_loop(many, rate, int(seed)))
            latencies = sorted(real.latencies)
            limited = Run("", real).limited_by_client
            expected = simulate(worker, rate, int(rows), requests=30_000, seed=int(seed))
            lost = expected.share(REFUSED) + expected.share(LATE)
            asked = real.counts.total()
            found.append(
                {
                    "load": share,
                    "real": {
                        "answered": real.rate,
                        "p50": percentile(latencies, 0.5) * 1e3,
                        "p99": percentile(latencies, 0.99) * 1e3,
                        "lost": 1 - len(latencies) / asked,
                    },
                    "expected": {
                        "answered": rate * (1 - lost),
                        "p50": expected.latency(0.5) * 1e3,
                        "p99": expected.latency(0.99) * 1e3,
                        "lost": lost,
                    },
                    "note": "  (the client was the limit)" if limited else "",
                }
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
