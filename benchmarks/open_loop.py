"""Load at random times that do not wait for answers, as of independent users: an open loop.

    make bench ARGS=--open
    make bench ARGS='--open --peers --models forest --rounds 3'

The client is that of the command `bench`, for our service and for every peer. Its requests are due
at random times, as of a Poisson process, at 50, 80 and 120 % of the most requests per second that
wrk got from that server in the same round. A latency counts from when a request was due, so that a
server which falls behind shows it. Every answer is compared with the model's own. What is not a
right answer is an error, a refusal too. The client is on the core that wrk had; a figure that is
the client's own limit is marked.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from load import holds
from servers import BASE, Server

SHARES = (0.5, 0.8, 1.2)
CONNECTIONS = 256


class OpenFigures(NamedTuple):
    """One load: requests/s that were due, milliseconds from then, and the share without a right
    answer. limited: whether the client was the limit."""

    offered: float
    p50: float
    p99: float
    errors: float
    limited: bool

    def __str__(self) -> str:
        text = f"{self.offered:8.0f}/s due  p50 {self.p50:8.2f}  p99 {self.p99:8.2f} ms"
        return f"{text}  errors {self.errors:.1%}" + ("  (the client's limit)" * self.limited)


OpenFound = dict[tuple[str, float], list[OpenFigures]]
"""By name of the server and share of its capacity: the figures of every round."""


class Asked(NamedTuple):
    """Requests and the scores that their answers must have: None if any answer is right."""

    bodies: list[str]
    expected: list[list[float]] | None


def measure_open(
    python: Path, server: Server, asked: Asked, most: float, seconds: float, core: str
) -> dict[float, OpenFigures]:
    """Load a server that runs and is warm; returns the figures by share.

    python: of an environment with the engine. most: the server's requests per second.
    """
    given = {
        "url": BASE,
        "path": server.predict,
        "bodies": asked.bodies,
        "expected": asked.expected,
        "rates": [share * most for share in SHARES],
        "seconds": seconds,
    }
    ended = subprocess.run(
        ["taskset", "-c", core, python, __file__],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(ended.stdout)
    return {share: OpenFigures(*each) for share, each in zip(SHARES, found, strict=True)}


def table(found: OpenFound) -> Iterator[str]:
    """The medians over the rounds, as lines of Markdown."""
    heads = [f"{share:.0%}" for share in SHARES]
    yield "| open loop: p50, p99 in ms, errors | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in dict.fromkeys(name for name, _ in found):
        cells = []
        for share in SHARES:
            rounds = found[name, share]
            p50, p99, errors = (
                statistics.median(getattr(each, field) for each in rounds)
                for field in ("p50", "p99", "errors")
            )
            mark = " \\*" if any(each.limited for each in rounds) else ""
            cells.append(f"{p50:.2f}, {p99:.2f}, {errors:.1%}{mark}")
        yield f"| {name} | {' | '.join(cells)} |"
    if any(each.limited for rounds in found.values() for each in rounds):
        yield ""
        yield "\\* The client was the limit in a round at least: the server can do better."


# In the environment of the project


def main() -> None:
    """Run the loads that standard input asks for; print their figures as JSON."""
    from serving_engine.cli.bench.client import Load, closed_loop, open_loop, run_client
    from serving_engine.cli.bench.report import Run
    from serving_engine.cli.bench.target import Target

    given = json.load(sys.stdin)
    target = Target.of(given["url"], None)
    scores = given["expected"] or [None] * len(given["bodies"])
    queries = [
        PeerQuery(target.request("POST", given["path"], body.encode()), expected)
        for body, expected in zip(given["bodies"], scores, strict=True)
    ]
    run_client(closed_loop(Load(target, queries, 8, 0.5)))
    found = []
    for seed, rate in enumerate(given["rates"]):
        load = Load(target, queries, CONNECTIONS, given["seconds"])
        measured = run_client(open_loop(load, rate, seed))
        run = Run("", measured)
        lost = measured.counts.total() - len(measured.latencies)
        times = [run.latencies.get(name, float("nan")) for name in ("p50", "p99")]
        errors = lost / max(1, measured.counts.total())
        found.append([rate, *times, errors, run.limited_by_client])
    print(json.dumps(found))


class PeerQuery:
    """A request to any server, for the client of `bench`: its answer holds the scores somewhere."""

    def __init__(self, request: bytes, scores: list[float] | None) -> None:
        self.request = request
        self._scores = scores
        self._answer = b""

    def is_right(self, answer: bytes) -> bool:
        """Whether an answer holds the scores; the very bytes of the last right one do."""
        if self._scores is None or answer == self._answer:
            return True
        if not holds(json.loads(answer), self._scores):
            return False
        self._answer = answer
        return True


if __name__ == "__main__":
    main()
