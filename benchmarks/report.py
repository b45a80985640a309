"""The figures of a benchmark as a table and a plot."""

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

from load import Figures
from open_loop import OpenFound
from open_loop import table as open_table
from servers import python_version

OURS = "this template"
OTHER = "the other project"


class Rest(NamedTuple):
    """What was measured besides load.

    ready: seconds from start to ready. memory: MiB after load. idle: percent of a core.
    by_name: requests/s at 32 connections with rows as objects; 0 where it was not measured.
    """

    ready: float
    memory: float
    idle: float
    by_name: float

    def __str__(self) -> str:
        text = f"ready after {self.ready:.2f} s  {self.memory:.0f} MiB  idle {self.idle:.1f} %"
        return text + (f"  by name {self.by_name:.0f}/s" if self.by_name else "")


Found = dict[tuple[str, int], list[Figures]]
Rests = dict[str, list[Rest]]
Measured = dict[str, tuple[Found, Rests, OpenFound]]


def median(figures: list[Figures] | list[Rest], field: str) -> float:
    return statistics.median(getattr(figure, field) for figure in figures)


def compare(measured: Measured) -> str:
    """A table of what this template takes and gives, as a multiple of the other project's."""
    lines = [
        "| model | connections | requests/s | p50 | p99 | memory | start |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, (found, rests, _) in measured.items():
        for connections in sorted({c for _, c in found}):
            load = found[OURS, connections], found[OTHER, connections]
            rest = rests[OURS], rests[OTHER]
            ratios = [ratio(*load, field) for field in ("rate", "p50", "p99")]
            ratios += [ratio(*rest, field) for field in ("memory", "ready")]
            cells = [model, str(connections), *(f"{value:.3f}×" for value in ratios)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(
    ours: list[Figures] | list[Rest], theirs: list[Figures] | list[Rest], field: str
) -> float:
    """The median of the ratios within each round."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(getattr(o, field) / getattr(t, field) for o, t in pairs)


def every_ratio(measured: Measured) -> list[str]:
    """One table of every ratio, a line for each model and number of connections; bold is beaten."""
    names = dict.fromkeys(name for found, _, _ in measured.values() for name, _ in found)
    peers = [name for name in names if name != OURS]
    lines = [f"| model | connections | {' | '.join(peers)} |", "|---" * (len(peers) + 2) + "|"]
    for model, (found, _, _) in measured.items():
        for c in sorted({c for _, c in found}):
            line = [model, str(c)]
            for name in peers:
                if (name, c) not in found:
                    line.append("")
                    continue
                of = ratio(found[OURS, c], found[name, c], "rate")
                line.append(f"{of:.2f}" if of >= 1 else f"**{of:.2f}**")
            lines.append(f"| {' | '.join(line)} |")
    return lines


def write_report(
    path: Path, measured: Measured, arguments: argparse.Namespace, configured: dict[str, str]
) -> None:
    """Write the tables: ratios of paired rounds first, then what was measured.

    configured: how each server is, by its name.
    """
    lines = [
        "# Results",
        "",
        f"`make bench` with {arguments.rounds} rounds of {arguments.seconds} s, Python "
        f"{python_version()}, one core for the server and one for wrk. A ratio is the "
        "median over the rounds of requests per second of this template divided by the peer's.",
        "",
        *every_ratio(measured),
    ]
    for model, (found, rests, loads) in measured.items():
        connections = sorted({c for _, c in found})
        names = list(dict.fromkeys(name for name, _ in found))
        heads = [f"{c} connection{'s' * (c > 1)}" for c in connections]
        lines += ["", f"## {model}", "", "| against | " + " | ".join(heads) + " |"]
        lines.append("|---" * (len(heads) + 1) + "|")
        for name in names:
            if name == OURS:
                continue
            cells = []
            for c in connections:
                cells.append(f"{ratio(found[OURS, c], found[name, c], 'rate'):.2f}×")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", "| requests/s (p50, p99 in ms) | " + " | ".join(heads) + " |"]
        lines.append("|---" * (len(heads) + 1) + "|")
        for name in names:
            cells = [
                f"{median(found[name, c], 'rate'):,.0f} ({median(found[name, c], 'p50'):.2f}, "
                f"{median(found[name, c], 'p99'):.2f})"
                for c in connections
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += [
            "",
            "| besides | ready (s) | memory (MiB) | idle (% of a core) |",
            "|---|---|---|---|",
        ]
        for name in names:
            digits = {"ready": 2, "memory": 0, "idle": 1}
            cells = [f"{median(rests[name], field):.{n}f}" for field, n in digits.items()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        if loads:
            lines += ["", *open_table(loads)]
        if (OURS, 32) in found:
            pairs = zip(rests[OURS], found[OURS, 32], strict=True)
            by_name = statistics.median(rest.by_name / figures.rate for rest, figures in pairs)
            lines += ["", f"Rows as objects by name, at 32 connections: {by_name:.2f}× of arrays."]
    lines += ["", "## How each is configured", "", "| server | configuration |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in configured.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_plot(path: Path, measured: Measured) -> None:
    """Draw requests per second and p99 against connections, a panel for each model."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = [(model, field) for model in measured for field in ("rate", "p99")]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6))
    for axis, (model, field) in zip(axes, panels, strict=True):
        found = measured[model][0]
        for name in dict.fromkeys(name for name, _ in found):
            connections = sorted({c for n, c in found if n == name})
            values = [median(found[name, c], field) for c in connections]
            width = 2.6 if name == OURS else 1.2
            axis.plot(connections, values, marker="o", markersize=3, linewidth=width, label=name)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(f"{model}: " + ("requests/s" if field == "rate" else "p99 in ms"))
        axis.set_xlabel("connections")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
