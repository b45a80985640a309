"""What the record and the shadow model cost the requests, in paired rounds.

    make bench ARGS=--shadow
    make bench ARGS='--shadow --rounds 1'     quicker, to try it

The service is free to use two cores, so that one is free for the threads beside the event loop; wrk
takes a little of them, and waits 5 ms between a connection's requests, so that nothing is
saturated: what is compared is the 99th percentile, within a round, with that of the service alone.
The record takes every request, up to its usual bound of rows per second. The shadow is the model
itself.
"""

import argparse
import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

from load import Figures, measure, running, verify, write_script
from report import ratio
from servers import Server

CORES = "0,1"
CONNECTIONS = 8
PAUSE = 5
"""Milliseconds that a connection of wrk waits before each request."""
MODEL = "logreg"
ALONE = "alone"

Observed = dict[str, list[Figures]]


def variants(packaged: Path, scratch: Path) -> dict[str, dict[str, str]]:
    """The settings of each variant, by its name."""
    record = {"SERVING_RECORD_DIR": str(scratch / "record")}
    shadow = {"SERVING_SHADOW_MODEL_DIR": str(packaged)}
    return {ALONE: {}, "record": record, "shadow": shadow, "both": record | shadow}


def measure_observers(
    arguments: argparse.Namespace, service: Server, data: Path, packaged: Path, scratch: Path
) -> Observed:
    """Measure every variant in every round; print as it goes, then the medians of the ratios."""
    rows = json.loads((data / "rows.json").read_text(encoding="utf-8"))
    expected = json.loads((data / f"{MODEL}-answers.json").read_text(encoding="utf-8"))
    bodies = [service.body(row) for row in rows]
    script = write_script(scratch / "observers.lua", bodies)
    paced = write_script(scratch / "paced.lua", bodies)
    with paced.open("a", encoding="utf-8") as file:
        file.write(f"function delay() return {PAUSE} end\n")
    found: Observed = {}
    names = list(variants(packaged, scratch).items())
    for number in range(arguments.rounds):
        for name, settings in names if number % 2 == 0 else names[::-1]:
            shutil.rmtree(scratch / "record", ignore_errors=True)
            server = replace(service, variables=service.variables | settings)
            server.variables["SERVING_MODEL_DIR"] = str(packaged)
            log = scratch / "observers.log"
            with running(server.command, server.variables, server.ready, log, CORES):
                verify(server, bodies, expected)
                measure(server.predict, script, CONNECTIONS, 2, CORES)
                figures = measure(server.predict, paced, CONNECTIONS, arguments.seconds, CORES)
            found.setdefault(name, []).append(figures)
            print(f"round {number + 1} {name:7} {figures}", flush=True)
    for name in found.keys() - {ALONE}:
        print(f"{name} / {ALONE}: p99 {ratio(found[name], found[ALONE], 'p99'):.2f}")
    return found


def write_observers(path: Path, found: Observed, arguments: argparse.Namespace) -> None:
    """Write observers.md: the medians over the rounds."""
    lines = [
        "# The record and the shadow model",
        "",
        f"`make bench ARGS=--shadow` with {arguments.rounds} rounds of {arguments.seconds} s: "
        f"{CONNECTIONS} connections with a pause of {PAUSE} ms, two cores, one linear model that "
        "is its own shadow.",
        "",
        "| | requests/s | p50 (ms) | p99 (ms) | p99 to that of the service alone |",
        "|---|---|---|---|---|",
    ]
    for name, figures in found.items():
        rate, p50, p99 = (
            statistics.median(getattr(each, field) for each in figures)
            for field in ("rate", "p50", "p99")
        )
        to_alone = ratio(figures, found[ALONE], "p99")
        lines.append(f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {to_alone:.2f} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
