"""The report on a record: as lines of a table, and as an HTML page with plots."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from ...text import one_line
from .record_statistics import ColumnValues, RecordStatistics, ShadowValues, Values

SHIFTED = 0.1
DRIFTED = 0.25
"""The usual readings of the population stability index."""
FEW_ROWS = 200
"""The index of fewer rows is mostly chance."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid currentColor; }
figure { margin: 1.5rem 0; }
svg { width: 100%; height: auto; }
svg text { font-size: 10px; fill: currentColor; }
.expected { fill: #8a8a8a; }
.actual { fill: #0b72d0; }
.drifted { font-weight: 700; }
"""


def drift_lines(statistics: RecordStatistics) -> Iterator[str]:
    """The report as text."""
    yield _summary(statistics)
    rows = [("", "rows", "gaps", "outside", "PSI", ""), *_table(statistics)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    yield from _notes(statistics)


def drift_page(statistics: RecordStatistics) -> str:
    """The report as an HTML page that needs no other file."""
    title = f"Drift of {statistics.manifest.name} {statistics.manifest.version}"
    head = "".join(
        f"<th scope=col>{cell}</th>"
        for cell in ("Value", "Rows", "Gaps", "Outside", "PSI", "Reading")
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
        for row in _table(statistics)
    )
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in _notes(statistics))
    plots = "".join(
        _plot(name, values) for name, values in _named(statistics) if values.index is not None
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(_summary(statistics))}</p>\n"
        f"<table>\n<tr>{head}</tr>\n{body}</table>\n{notes}"
        "<p>Gray: when the model was packaged. Blue: in the record.</p>\n"
        f"{plots}</html>\n"
    )


def _summary(statistics: RecordStatistics) -> str:
    manifest = statistics.manifest
    text = (
        f"{statistics.rows} rows of {manifest.name} {manifest.version}, "
        f"{statistics.first} to {statistics.last}"
    )
    if statistics.other_versions:
        text += f"; {statistics.other_versions} rows of other versions are left out"
    return text


def _named(statistics: RecordStatistics) -> Iterator[tuple[str, Values]]:
    for column in statistics.columns:
        yield column.column.name, column
    for name, values in statistics.predictions.items():
        yield f"prediction: {name}", values


def _table(statistics: RecordStatistics) -> list[tuple[str, ...]]:
    return [_row(name, values) for name, values in _named(statistics)]


def _row(name: str, values: Values) -> tuple[str, ...]:
    outside = values.outside_share if isinstance(values, ColumnValues) else None
    return (
        one_line(name, most=60),
        str(values.rows),
        _gaps(values),
        "" if outside is None else _percent(outside),
        "" if values.index is None else f"{values.index:.3f}",
        _reading(values),
    )


def _gaps(values: Values) -> str:
    if not values.rows:
        return ""
    now = _percent(values.null_share)
    return now if values.expected is None else f"{_percent(values.expected.nulls)} → {now}"


def _reading(values: Values) -> str:
    if not values.rows:
        return "not in the record"
    if isinstance(values, ColumnValues) and values.hashed:
        return "hashed"
    if values.index is None:
        return "PSI not recorded" if values.expected is None else "no values"
    if values.rows - values.nulls < FEW_ROWS:
        return "too few rows for a reading"
    readings = {SHIFTED: "stable", DRIFTED: "shifted", math.inf: "drifted"}
    return next(reading for limit, reading in readings.items() if values.index < limit)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _notes(statistics: RecordStatistics) -> Iterator[str]:
    """Lines about what a table cannot say."""
    if statistics.manifest.observed is None:
        yield (
            "PSI not recorded: the manifest holds no distributions. `model package` of this "
            "release records them."
        )
    label = statistics.predictions.get("label")
    if label is not None and label.expected is not None:
        names = [*(label.expected.categories or ()), "others"]
        shares = zip(names, label.expected_shares, label.shares, strict=True)
        changes = [
            f"{name} {_percent(was)} → {_percent(now)}" for name, was, now in shares if was or now
        ]
        yield f"labels: {one_line(', '.join(changes))}"
    for name, values in _named(statistics):
        if values.others and not (isinstance(values, ColumnValues) and values.hashed):
            others = ", ".join(f"{other!r} ({count})" for other, count in values.others.items())
            yield f"{one_line(name, most=60)}: values that were not observed: {one_line(others)}"
    for version, shadow in statistics.shadows.items():
        yield _shadow(version, shadow)


def _shadow(version: str, shadow: ShadowValues) -> str:
    text = (
        f"shadow {version}: agrees on {_percent(shadow.agreed / shadow.rows)} of {shadow.rows} "
        f"rows; difference of numbers {shadow.total / shadow.rows:.3g} on average, "
        f"{shadow.largest:.3g} at most; a call took {shadow.milliseconds / shadow.rows:.3g} ms on "
        f"average, {shadow.slowest:.3g} ms at most"
    )
    pairs = [f"{one} → {other}: {count}" for (one, other), count in shadow.pairs.most_common(10)]
    return text + (f"; {one_line(', '.join(pairs))}" if pairs else "")


def _plot(name: str, values: Values) -> str:
    """Two bars for each interval or category."""
    expected, actual = values.expected_shares, values.shares
    width, height, base = 640, 120, 100
    step = width / len(expected)
    top = max(*expected, *actual, 0.01)
    bars = []
    for number, (was, now, label) in enumerate(
        zip(expected, actual, _bar_labels(values), strict=True)
    ):
        for share, kind, offset in ((was, "expected", 0.1), (now, "actual", 0.5)):
            high = base * share / top
            bars.append(
                f'<rect class="{kind}" x="{(number + offset) * step:.1f}" y="{base - high:.1f}" '
                f'width="{0.4 * step:.1f}" height="{high:.1f}">'
                f"<title>{escape(label)}: {_percent(share)}</title></rect>"
            )
        short = escape(_shortened(label, step))
        bars.append(f'<text x="{(number + 0.1) * step:.1f}" y="115">{short}</text>')
    title = f"{escape(one_line(name, most=60))} (PSI {values.index:.3f}, {_reading(values)})"
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{"".join(bars)}</svg>'
        "</figure>\n"
    )


def _bar_labels(values: Values) -> Sequence[str]:
    expected = values.expected
    if expected is None or expected.categories is not None:
        return [*(expected.categories or () if expected else ()), "others"]
    edges = expected.edges or []
    if not edges:
        return ["all"]
    return [*(f"≤ {edge:g}" for edge in edges), f"> {edges[-1]:g}"]


def _shortened(label: str, step: float) -> str:
    most = max(1, int(step / 6))
    return label if len(label) <= most else f"{label[: most - 1]}…"
