"""What the record and the shadow model cost the requests, in paired rounds.

    make bench ARGS='--shadow --rounds 3'

The service is free to use two cores, so that one is free for the threads beside the event loop; wrk
takes a little of them, and waits 5 ms between a connection's requests, so that nothing is
saturated: what is compared is the 99th percentile at one rate, and the processor time of the thread
that answers, with those of the service alone. See paired.py for how.
The record takes every request, up to its usual bound of rows per second. The shadow is the model
itself.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from load import read_rows, write_script
from paired import SECONDS, TURNS, Check, Load, Rounds, Variant, measure_round, table
from servers import Server

CORES = "0,1"
CONNECTIONS = 8
PAUSE = 5
"""Milliseconds that a connection of wrk waits before each request."""
MODEL = "logreg"
ALONE = "alone"


def variants(service: Server, packaged: Path, script: Path, record: Path) -> dict[str, Variant]:
    """The variants by name; two write a record, below the folder `record`."""
    shadow = {"SERVING_SHADOW_MODEL_DIR": str(packaged)}
    settings = {
        ALONE: {},
        "record": {"SERVING_RECORD_DIR": str(record / "one")},
        "shadow": shadow,
        "both": {"SERVING_RECORD_DIR": str(record / "both")} | shadow,
    }
    own = service.variables | {"SERVING_MODEL_DIR": str(packaged)}
    return {
        name: Variant(replace(service, variables=own | more), script)
        for name, more in settings.items()
    }


def measure_observers(
    arguments: argparse.Namespace, service: Server, data: Path, packaged: Path, scratch: Path
) -> None:
    """Measure every variant in every round; print, and write if that is asked for."""
    rows, expected = read_rows(data, MODEL)
    bodies = [service.body(row) for row in rows]
    paced = write_script(scratch / "paced.lua", bodies)
    with paced.open("a", encoding="utf-8") as file:
        file.write(f"function delay() return {PAUSE} end\n")
    check = Check(bodies, expected, write_script(scratch / "observers.lua", bodies))
    found: Rounds = {}
    for number in range(arguments.rounds):
        shutil.rmtree(scratch / "record", ignore_errors=True)
        measure_round(
            variants(service, packaged, paced, scratch / "record"),
            check,
            Load(CONNECTIONS, CORES, CORES),
            scratch,
            found,
        )
        print(f"round {number + 1}", flush=True)
    lines = [
        "# The record and the shadow model",
        "",
        f"    make bench ARGS='--shadow --rounds {arguments.rounds} --write'",
        "",
        f"{arguments.rounds} rounds of {TURNS} turns of {SECONDS} s: {CONNECTIONS} connections "
        f"with a pause of {PAUSE} ms, two cores, one linear model that is its own shadow. A ratio "
        "is the median over the turns, to the turn of the service alone; in brackets the "
        "quartiles, and the medians of the rounds. The loop is the thread that answers.",
        "",
        *table(found, ALONE),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
