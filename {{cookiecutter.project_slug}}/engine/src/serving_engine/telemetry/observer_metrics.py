"""What the record and the shadow model count. Their threads count here, beside the event loop."""

import threading
from bisect import bisect_left
from collections.abc import Iterable

from .exposition import DIFFERENCES, SECONDS, Counts


class ObserverMetrics:
    """Counts for `Metrics`, empty while there is neither a record nor a shadow model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counts = {}

    def recorded(self, rows: int) -> None:
        """Count rows that were written to the record."""
        self._add("serving_recorded_rows", rows)

    def not_recorded(self, reason: str, rows: int) -> None:
        """Count rows that the record lacks, though they were sampled."""
        self._add(f"serving_record_dropped\n{reason}", rows)

    def shadow_loaded(self, succeeded: bool) -> None:
        """Count a shadow model that was loaded, or that was not."""
        self._add(f"serving_shadow_loads\n{'ok' if succeeded else 'failed'}", 1)

    def shadow_dropped(self, reason: str, rows: int) -> None:
        """Count rows that the shadow model did not see."""
        self._add(f"serving_shadow_dropped\n{reason}", rows)

    def shadow_compared(self, agreed: int, differed: int, seconds: float) -> None:
        """Count the rows of one call of the shadow model."""
        self._add("serving_shadow_rows\nagreed", agreed)
        self._add("serving_shadow_rows\ndiffered", differed)
        self._observe("serving_shadow_seconds", SECONDS, [seconds])

    def shadow_differences(self, differences: Iterable[float]) -> None:
        """Count the difference of each row."""
        self._observe("serving_shadow_difference", DIFFERENCES, differences)

    def shadow_failed(self, rows: int) -> None:
        """Count rows on which the shadow model failed."""
        self._add("serving_shadow_rows\nfailed", rows)

    def counts(self) -> Counts:
        """The counts by metric and label values, for `Metrics`."""
        with self._lock:
            return {key: list(numbers) for key, numbers in self._counts.items()}

    def _add(self, key: str, count: int) -> None:
        with self._lock:
            self._counts.setdefault(key, [0])[0] += count

    def _observe(self, name: str, bounds: tuple[float, ...], values: Iterable[float]) -> None:
        with self._lock:
            numbers = self._counts.setdefault(name, [0] * (len(bounds) + 2))
            for value in values:
                numbers[bisect_left(bounds, value)] += 1
                numbers[-1] += value
