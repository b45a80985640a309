"""Variants of one service beside each other, in many short turns: what each costs a request.

Throughput by the clock varies by more than a few percent on most machines. The processor time of a
request varies less, and is what bounds throughput on one core, so both are measured. All variants
run at once, each on a port of its own, and take turns of a second; an idle one takes next to
nothing. Every round starts them afresh: two processes of one program differ by a percent too.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from load import Figures, measure, running, verify
from servers import PORT, Server

TURNS = 10
"""Of each variant in a round."""
SECONDS = 1
WARM_UP = 2
_PROCESS_CLOCK = 2
"""Of another process, by its id: CPUCLOCK_SCHED of Linux."""


class Variant(NamedTuple):
    """A variant of the service. script: its load, for wrk."""

    server: Server
    script: Path


class Check(NamedTuple):
    """Requests, and the scores that their answers must have; and a load without pause, for wrk."""

    bodies: list[str]
    expected: list[list[float]]
    warm_up: Path


class Load(NamedTuple):
    """How variants are loaded. Cores: as taskset takes them."""

    connections: int
    server_cores: str
    load_cores: str


class Turn(NamedTuple):
    """Requests/s, milliseconds at the 99th percentile, and microseconds of processor time for each
    request.

    process: of all threads, with what they do until the next turn. loop: of the thread that
    answers, which calls a quick model too.
    """

    rate: float
    p99: float
    process: float
    loop: float


class Resting(NamedTuple):
    """Seconds from start to ready, and MiB of all processes after the load."""

    ready: float
    memory: float


Rounds = dict[str, list[list[Turn]]]
"""Of each variant, by its name: the turns of every round."""


def measure_round(
    variants: Mapping[str, Variant], check: Check, load: Load, scratch: Path, found: Rounds
) -> dict[str, Resting]:
    """Start every variant, let them take turns, and add what was measured of these.

    Returns what else was measured, by name. Raises RuntimeError if an answer is wrong or fails.
    """
    with ExitStack() as stack:
        running_turns = []
        every = []
        for number, variant in enumerate(variants.values()):
            port = PORT + number
            base = f"http://127.0.0.1:{port}"
            server = variant.server
            server_runs = stack.enter_context(
                running(
                    server.command.replace(f"--port {PORT}", f"--port {port}"),
                    server.variables,
                    server.ready,
                    scratch / f"server-{number}.log",
                    load.server_cores,
                    base,
                )
            )
            every.append(server_runs)
            verify(server, check.bodies, check.expected, base)
            measured(server, check.warm_up, load, WARM_UP, base)
            running_turns.append(turns(server_runs.pid, variant, load, base))
        for _ in range(TURNS + 1):
            latest = [next(each) for each in running_turns]
        restings = [Resting(each.ready, each.memory()) for each in every]
    for name, of_round in zip(variants, latest, strict=True):
        found.setdefault(name, []).append(of_round)
    return dict(zip(variants, restings, strict=True))


def turns(pid: int, variant: Variant, load: Load, base: str) -> Iterator[list[Turn]]:
    """Take a turn whenever asked; yield all turns but this one, which isn't over until the next."""
    done: list[Turn] = []
    while True:
        process, loop = process_seconds(pid), loop_seconds(pid)
        figures = measured(variant.server, variant.script, load, SECONDS, base)
        loop = loop_seconds(pid) - loop
        yield list(done)
        process = process_seconds(pid) - process
        cost = [seconds / figures.requests * 1e6 for seconds in (process, loop)]
        done.append(Turn(figures.rate, figures.p99, *cost))


def measured(server: Server, script: Path, load: Load, seconds: float, base: str) -> Figures:
    figures = measure(server.predict, script, load.connections, seconds, load.load_cores, base)
    if figures.failed:
        raise RuntimeError(f"{figures.failed} requests failed")
    return figures


def process_seconds(pid: int) -> float:
    """Processor time of a process, with threads that have ended."""
    return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)


def loop_seconds(pid: int) -> float:
    """Processor time of a process's first thread, where its event loop runs."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def table(found: Rounds, alone: str) -> list[str]:
    """What each variant costs, as lines of Markdown.

    A ratio is the median over all turns, to the turn of the variant `alone` beside it; then its
    quartiles, and the medians of the least and the greatest round.
    """
    lines = [
        "| | requests/s | p99 (ms) | CPU (µs) | of the loop | "
        "ratio of requests/s | of p99 | of CPU | of the loop |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        every = [turn for turns in rounds for turn in turns]
        medians = [statistics.median(getattr(turn, f) for turn in every) for f in Turn._fields]
        cells = [name, *(f"{m:,.{d}f}" for m, d in zip(medians, (0, 2, 1, 1), strict=True))]
        if name == alone:
            cells += ["1"] * len(Turn._fields)
        else:
            cells += [spread(ratios(rounds, found[alone], field)) for field in Turn._fields]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ratios(ours: list[list[Turn]], theirs: list[list[Turn]], field: str) -> list[list[float]]:
    """The ratios of turns beside each other, of every round."""
    return [
        [getattr(o, field) / getattr(t, field) for o, t in zip(*turns, strict=True)]
        for turns in zip(ours, theirs, strict=True)
    ]


def spread(rounds: list[list[float]]) -> str:
    every = [ratio for turns in rounds for ratio in turns]
    low, middle, high = statistics.quantiles(every, n=4)
    medians = [statistics.median(turns) for turns in rounds]
    of_rounds = f"rounds {min(medians):.3f} to {max(medians):.3f}"
    return f"**{middle:.3f}** ({low:.3f} to {high:.3f}; {of_rounds})"
