"""A plot of latencies against load, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_COLORS = {"p50": "#1b7f5a", "p99": "#b3261e"}
_LEAST = 1e-3

Points = Sequence[tuple[float, Mapping[str, float]]]


def latency_plot(points: Points, title: str, limit: float | None = None) -> str:
    """An SVG picture of `p50` and `p99`, in milliseconds, against the requests per second.

    limit: a latency in milliseconds that a dashed line shows.
    """
    return "\n".join(_svg(points, title, limit)) + "\n"


def _svg(points: Points, title: str, limit: float | None) -> Iterator[str]:
    largest = max((offered for offered, _ in points), default=1.0)
    shown = [latency[name] for _, latency in points for name in _COLORS] or [1.0]
    shown += [] if limit is None else [limit]
    low, high = floor(log10(max(min(shown), _LEAST))), ceil(log10(max(*shown, 10 * _LEAST)))
    high = max(high, low + 1)

    def x(offered: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * offered / largest

    def y(latency: float) -> float:
        part = (log10(max(latency, _LEAST)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    yield f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>'
    for power in range(low, high + 1):
        height = f"{y(10**power):.1f}"
        yield f'<path d="M{_LEFT} {height}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{height}" text-anchor="end">{10**power:g} ms</text>'
    if limit is not None:
        yield (
            f'<path d="M{_LEFT} {y(limit):.1f}H{_WIDTH - _RIGHT}" stroke="#b3261e" '
            'stroke-dasharray="4"/>'
        )
    for offered, _ in points:
        yield (
            f'<text x="{x(offered):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{offered:,.0f}</text>"
        )
    yield (
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">requests per second</text>'
    )
    for number, (name, color) in enumerate(_COLORS.items()):
        line = " ".join(f"{x(offered):.1f},{y(latency[name]):.1f}" for offered, latency in points)
        yield f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>'
        yield f'<text x="{_LEFT + 10 + 50 * number}" y="36" fill="{color}">{name}</text>'
    yield "</svg>"
