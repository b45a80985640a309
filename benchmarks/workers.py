"""What several workers take and give: a large forest, one worker beside two and four.

    make bench ARGS=--workers
    make bench ARGS='--workers --trees 20 --rounds 1'     smaller and quicker, to try it

Memory is what all processes of the service hold (PSS, so shared pages count once) after ten
thousand predictions that every worker had a part in. Speed is of two workers against one, both
free to use two cores; the load takes a little of them, equally.
"""

import argparse
import statistics
import urllib.request
from pathlib import Path
from typing import NamedTuple

from load import measure, read_rows, running, verify, write_script
from servers import BASE, Server

CORES = "0,1"
PREDICTIONS = 10_000
CONNECTIONS = 64
LARGEST = 2**32


class Workers(NamedTuple):
    """One measurement of a number of workers: requests/s, and MiB of the whole service."""

    rate: float
    memory: float


def rounds(
    service: Server, arguments: argparse.Namespace, data: Path, packaged: Path, scratch: Path
) -> dict[int, list[Workers]]:
    """Measure one, two and four workers in every round; print as it goes."""
    rows, expected = read_rows(data, "large")
    bodies = [service.body(row) for row in rows]
    script = write_script(scratch / "large.lua", bodies)
    found: dict[int, list[Workers]] = {}
    for number in range(arguments.rounds):
        for workers in (1, 2, 4):
            variables = service.variables | {
                "SERVING_MODEL_DIR": str(packaged),
                "SERVING_MAX_MODEL_BYTES": str(LARGEST),
                "SERVING_WORKERS": str(workers),
            }
            log = scratch / "workers.log"
            with running(service.command, variables, service.ready, log, CORES) as server_runs:
                verify(service, bodies, expected)
                measure(service.predict, script, CONNECTIONS, 2, CORES)
                rate = measure(service.predict, script, CONNECTIONS, arguments.seconds, CORES).rate
                while predictions() < PREDICTIONS:
                    measure(service.predict, script, CONNECTIONS, 1, CORES)
                figures = Workers(rate, server_runs.memory())
            found.setdefault(workers, []).append(figures)
            print(f"large round {number + 1} {workers} workers {figures}", flush=True)
    return found


def predictions() -> float:
    """How many rows the service says it has predicted."""
    with urllib.request.urlopen(f"{BASE}/metrics", timeout=10) as response:
        for line in response.read().decode().splitlines():
            if line.startswith("serving_batch_rows_sum "):
                return float(line.split()[1])
    raise RuntimeError("there is no serving_batch_rows_sum")


def ratios(found: dict[int, list[Workers]]) -> tuple[float, float]:
    """Memory of four workers to that of one, and rate of two to that of one: medians."""
    pairs = list(zip(found[1], found[2], found[4], strict=True))
    memories = statistics.median(four.memory / one.memory for one, _, four in pairs)
    rates = statistics.median(two.rate / one.rate for one, two, _ in pairs)
    return memories, rates


def write_workers(
    path: Path, found: dict[int, list[Workers]], arguments: argparse.Namespace
) -> None:
    """Write workers.md: the medians over the rounds."""
    memories, rates = ratios(found)
    lines = [
        "# Workers",
        "",
        f"`make bench ARGS=--workers` with {arguments.rounds} rounds of {arguments.seconds} s: a "
        f"forest of {arguments.trees} large trees, {CONNECTIONS} connections, two cores.",
        "",
        "| workers | requests/s | memory of all processes (MiB) |",
        "|---|---|---|",
    ]
    for workers, figures in found.items():
        rate = statistics.median(figure.rate for figure in figures)
        size = statistics.median(figure.memory for figure in figures)
        lines.append(f"| {workers} | {rate:,.0f} | {size:,.0f} |")
    lines += [
        "",
        f"Four workers take {memories:.2f}× the memory of one; two serve {rates:.2f}× as much.",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
