"""What is counted of a record: of each column, of each value of the predictions, of a shadow."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...model_files.manifest import Manifest
from ...model_files.observed import Distribution, Observed, interval_counts, prediction_values
from ...schema.predictions import numbers_of
from ...schema.signature import Cell, Column, class_name
from .read_record import RecordRow

SMALLEST_SHARE = 1e-4
"""A share of 0 would make the index infinite."""
MAX_OTHERS = 20
MAX_PAIRS = 100
MAX_SHADOWS = 10
_HASH = re.compile("[0-9a-f]{32}")


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The population stability index: the sum of (actual - expected) * ln(actual / expected) over
    the shares of all intervals or categories."""
    pairs = [
        (max(one, SMALLEST_SHARE), max(other, SMALLEST_SHARE))
        for one, other in zip(expected, actual, strict=True)
    ]
    return sum((other - one) * math.log(other / one) for one, other in pairs)


class Values:
    """Counts the values of one column or prediction, as the manifest divides them.

    expected: the distribution of the manifest; None if it has none.
    """

    def __init__(self, expected: Distribution | None) -> None:
        self.expected = expected
        self.rows = 0
        self.nulls = 0
        self.others: Counter[str] = Counter()
        """Values beside the categories: the first `MAX_OTHERS`."""
        self._other = 0
        size = len(expected.shares) if expected else 0
        self._counts = np.zeros(size, dtype=np.int64)

    def add(self, cells: Sequence[Any]) -> list[Any]:
        """Count cells; return those that are no null."""
        values = [cell for cell in cells if cell is not None]
        self.rows += len(cells)
        self.nulls += len(cells) - len(values)
        if self.expected is not None:
            self._add_values(self.expected, values)
        return values

    def _add_values(self, expected: Distribution, values: Sequence[Any]) -> None:
        if expected.categories is None:
            numbers = [value for value in values if not isinstance(value, str)]
            self._counts += np.array(interval_counts(expected.edges or [], numbers))
            return
        counts = Counter(value if isinstance(value, str) else class_name(value) for value in values)
        for number, category in enumerate(expected.categories):
            self._counts[number] += counts.pop(category, 0)
        self._other += counts.total()
        for value, count in counts.items():
            if value in self.others or len(self.others) < MAX_OTHERS:
                self.others[value] += count

    @property
    def null_share(self) -> float:
        """The share of the rows without a value."""
        return self.nulls / self.rows if self.rows else 0.0

    @property
    def shares(self) -> list[float]:
        """The share of each interval or category; after the categories, that of all others."""
        counts = self._counts.tolist()
        if self.expected is not None and self.expected.categories is not None:
            counts.append(self._other)
        total = sum(counts)
        return [count / total if total else 0.0 for count in counts]

    @property
    def expected_shares(self) -> list[float]:
        """What `shares` was when the model was packaged."""
        if self.expected is None:
            return []
        others = [] if self.expected.categories is None else [0.0]
        return [*self.expected.shares, *others]

    @property
    def index(self) -> float | None:
        """The population stability index; None if it cannot be computed."""
        if self.expected is None or self.rows == self.nulls:
            return None
        return stability_index(self.expected_shares, self.shares)


class ColumnValues(Values):
    """Counts the values of one column, and those outside of what the signature observed."""

    def __init__(self, column: Column, expected: Distribution | None) -> None:
        super().__init__(expected)
        self.column = column
        self.outside = 0
        self._hashes = 0
        self._known = set(column.categories or ())

    def add(self, cells: Sequence[Cell]) -> list[Any]:
        """Count cells; return those that are no null."""
        values = super().add(cells)
        texts = [value for value in values if isinstance(value, str)]
        self._hashes += sum(
            _HASH.fullmatch(text) is not None and text not in self._known for text in texts
        )
        if self.column.categories is not None:
            self.outside += sum(value not in self._known for value in values)
        elif self.column.minimum is not None and self.column.maximum is not None:
            numbers = np.array([value for value in values if not isinstance(value, str)], float)
            low, high = self.column.minimum, self.column.maximum
            self.outside += int(((numbers < low) | (numbers > high)).sum())
        return values

    @property
    def hashed(self) -> bool:
        """Whether every value is a hash: nothing but its gaps can be compared."""
        return 0 < self._hashes == self.rows - self.nulls

    @property
    def outside_share(self) -> float | None:
        """The share of the values outside of the range or the categories; None without either."""
        known = self.column.categories is not None or self.column.minimum is not None
        count = self.rows - self.nulls
        return self.outside / count if known and count and not self.hashed else None

    @property
    def index(self) -> float | None:
        """The population stability index; None if it cannot be computed."""
        return None if self.hashed else super().index


@dataclass
class ShadowValues:
    """What is counted of one version of a shadow model.

    largest, total: of the differences of numbers. milliseconds, slowest: the sum and the largest of
    the times of its calls. pairs: how often a label of the model met another one of the shadow.
    """

    rows: int = 0
    agreed: int = 0
    largest: float = 0.0
    total: float = 0.0
    milliseconds: float = 0.0
    slowest: float = 0.0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)


class RecordStatistics:
    """Counts the rows of a record that the model of the manifest answered.

    tolerance: largest relative difference of a number with which a shadow agrees.
    """

    def __init__(self, manifest: Manifest, tolerance: float) -> None:
        self.manifest = manifest
        observed = manifest.observed or Observed(rows=1)
        self._tolerance = tolerance
        self.rows = 0
        self.other_versions = 0
        self.first = self.last = ""
        self.columns = [
            ColumnValues(column, observed.columns.get(column.name))
            for column in manifest.signature.inputs
        ]
        self.predictions = {name: Values(each) for name, each in observed.predictions.items()}
        self.shadows: dict[str, ShadowValues] = {}

    def add(self, block: Sequence[RecordRow]) -> None:
        """Count some rows."""
        rows = [row for row in block if row["version"] == self.manifest.version]
        self.other_versions += len(block) - len(rows)
        if not rows:
            return
        self.rows += len(rows)
        times = [str(row.get("time", "")) for row in rows]
        self.first = min(self.first or times[0], *times)
        self.last = max(self.last, *times)
        for column in self.columns:
            name = column.column.name
            column.add([row["input"][name] for row in rows if name in row["input"]])
        signature = self.manifest.signature
        values = [prediction_values(row["output"], signature) for row in rows]
        for name, counted in self.predictions.items():
            counted.add([value.get(name) for value in values])
        for row, value in zip(rows, values, strict=True):
            shadow = row.get("shadow")
            if shadow is not None:
                self._add_shadow(row["output"], value, shadow)

    def _add_shadow(self, output: Any, value: dict[str, Any], shadow: dict[str, Any]) -> None:
        version = str(shadow["version"])
        if version not in self.shadows and len(self.shadows) == MAX_SHADOWS:
            return
        counted = self.shadows.setdefault(version, ShadowValues())
        other = prediction_values(shadow["output"], self.manifest.signature)
        counted.rows += 1
        milliseconds = float(shadow.get("milliseconds") or 0.0)
        counted.milliseconds += milliseconds
        counted.slowest = max(counted.slowest, milliseconds)
        texts = {name: one for name, one in value.items() if isinstance(one, str)}
        if texts:
            agrees = all(other.get(name) == one for name, one in texts.items())
        else:
            agrees = self._difference(output, shadow["output"], relative=True) <= self._tolerance
        counted.agreed += agrees
        difference = self._difference(output, shadow["output"], relative=not texts)
        counted.largest = max(counted.largest, difference)
        counted.total += difference
        pair = (str(value.get("label")), str(other.get("label")))
        known = pair in counted.pairs or len(counted.pairs) < MAX_PAIRS
        if "label" in value and not agrees and known:
            counted.pairs[pair] += 1

    def _difference(self, output: Any, other: Any, *, relative: bool) -> float:
        """The largest difference of two predictions' numbers."""
        ours, theirs = _named_numbers(output), _named_numbers(other)
        largest = 0.0
        for name in ours.keys() | theirs.keys():
            one, two = ours.get(name, 0.0), theirs.get(name, 0.0)
            difference = abs(one - two)
            if relative and difference:
                difference = difference / abs(one) if one else math.inf
            largest = max(largest, difference)
        return largest


def _named_numbers(prediction: Any) -> dict[Any, float]:
    if isinstance(prediction, dict) and "probabilities" in prediction:
        probabilities: dict[Any, float] = prediction["probabilities"]
        return probabilities
    return dict(enumerate(numbers_of(prediction)))
