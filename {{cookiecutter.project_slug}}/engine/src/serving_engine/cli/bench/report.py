"""What the runs found: a table, a plot, and a document for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .client import Measured
from .plot import latency_plot

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_BUSY = 0.9
_LAG = 0.1
_LEAST_LAG = 0.001


@dataclass(frozen=True)
class Run:
    """A run by its name."""

    name: str
    measured: Measured

    @cached_property
    def latencies(self) -> dict[str, float]:
        """Percentiles in milliseconds; empty if no answer was right."""
        values = sorted(self.measured.latencies)
        return {name: 1000 * percentile(values, q) for name, q in _PERCENTILES.items() if values}

    @property
    def limited_by_client(self) -> bool:
        """Whether the client had no time left, so that the figures are its own.

        It has none if it took 90 % of a processor, or sent one request in a hundred late by more
        than a millisecond and a tenth of the p99 latency.
        """
        lag = percentile(sorted(self.measured.lags), 0.99) if self.measured.lags else 0.0
        p99 = self.latencies.get("p99", 0.0) / 1000
        return self.measured.cpu > _BUSY or lag > max(_LEAST_LAG, _LAG * p99)

    @property
    def other_answers(self) -> str:
        """The answers that are no predictions, by status."""
        counts = sorted(self.measured.counts.items())
        return ", ".join(f"{count} {status}" for status, count in counts if status != "200")

    def document(self) -> dict[str, Any]:
        """The run for other programs; latencies in milliseconds, rates in requests per second."""
        measured = self.measured
        return {
            "name": self.name,
            "offered": measured.offered,
            "answered": measured.rate,
            "seconds": measured.seconds,
            "latency_ms": self.latencies,
            "answers": dict(measured.counts),
            "client_cpu": measured.cpu,
            "limited_by_client": self.limited_by_client,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of sorted values does not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]


def header() -> str:
    """The first line of the table."""
    names = "".join(f"{name:>9}" for name in _PERCENTILES)
    return f"{'load':<16}{'asked/s':>9}{'right/s':>9}{names}  other answers"


def row(run: Run) -> str:
    """A line of the table; latencies in milliseconds."""
    offered = "" if run.measured.offered is None else f"{run.measured.offered:,.0f}"
    latencies = run.latencies
    cells = "".join(f"{latencies.get(name, float('nan')):9.2f}" for name in _PERCENTILES)
    limit = "  (the client was the limit)" if run.limited_by_client else ""
    line = (
        f"{run.name:<16}{offered:>9}{run.measured.rate:>9,.0f}{cells}  {run.other_answers}{limit}"
    )
    return line.rstrip()


def plot(runs: Sequence[Run], title: str) -> str:
    """An SVG picture: p50 and p99 of each open loop, against the requests per second."""
    points = [(run.measured.offered, run.latencies) for run in runs if run.latencies]
    return latency_plot([(offered, latency) for offered, latency in points if offered], title)
