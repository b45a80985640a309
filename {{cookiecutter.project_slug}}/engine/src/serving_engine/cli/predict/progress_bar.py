"""A progress bar on a terminal."""

import sys
import time

_WIDTH = 30
_INTERVAL = 0.2


class ProgressBar:
    """A line on standard error, if that is a terminal: the rows done, and the time left."""

    def __init__(self, rows: int) -> None:
        """rows: those that are done when it starts."""
        self._visible = sys.stderr.isatty()
        self._first_rows = rows
        self._first_part: float | None = None
        self._started = time.monotonic()
        self._shown = 0.0

    def show(self, rows: int, part: float) -> None:
        """Show how many rows are done, and what part of the file that is; 0 if that is unknown."""
        now = time.monotonic()
        if not self._visible or now - self._shown < _INTERVAL:
            return
        self._shown = now
        seconds = max(now - self._started, 1e-9)
        if self._first_part is None:
            self._first_part = part
        line = f"{rows:,} rows, {(rows - self._first_rows) / seconds:,.0f} a second"
        if part > self._first_part:
            left = seconds * (1 - part) / (part - self._first_part)
            line += f", {left:.0f} s left"
        if part:
            bar = "#" * round(_WIDTH * part)
            line = f"{part:4.0%} [{bar:<{_WIDTH}}] {line}"
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Go to the next line."""
        if self._shown:
            print(file=sys.stderr)
