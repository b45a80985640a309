"""Asks a model how it may be called: from several threads? many rows at once?"""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..artifact.load import Predict
from ..artifact.threads import limit_threads
from ..schema.answers import Outputs

THREADS = 4
CALLS = 32
MOST_ROWS = 64

# Scores may differ in their last bits between a row alone and in a batch: BLAS sums in another
# order. Labels may differ only where scores tie.
RELATIVE, ABSOLUTE = 1e-9, 1e-12


def probe(predict: Predict, rows: Sequence[Sequence[float | None]]) -> dict[str, bool]:
    """Returns `thread_safe` and `row_independent`, found by calling `predict` on example rows."""
    rows = list(rows[:MOST_ROWS])
    # Forests change the filters in every thread, and then warn of filters that are missing.
    with warnings.catch_warnings(action="ignore"):
        return {
            "thread_safe": _is_thread_safe(predict, rows),
            "row_independent": _is_row_independent(predict, rows),
        }


def _is_thread_safe(predict: Predict, rows: list[Sequence[float | None]]) -> bool:
    parts = [rows[number % len(rows) :] for number in range(CALLS)]
    alone = [predict(part) for part in parts]
    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        together = list(pool.map(predict, parts))
    return all(_equal(one, other) for one, other in zip(alone, together, strict=True))


def _is_row_independent(predict: Predict, rows: list[Sequence[float | None]]) -> bool:
    batch = predict(rows)
    backwards = predict(rows[::-1])
    last = len(rows) - 1
    return all(
        _same_row(predict([row]), batch.part(number, number + 1))
        and _same_row(
            backwards.part(last - number, last - number + 1), batch.part(number, number + 1)
        )
        for number, row in enumerate(rows)
    )


def _equal(one: Outputs, other: Outputs) -> bool:
    if one.probabilities is None or other.probabilities is None:
        return np.array_equal(one.values, other.values)
    return np.array_equal(one.values, other.values) and np.array_equal(
        one.probabilities, other.probabilities
    )


def _same_row(one: Outputs, other: Outputs) -> bool:
    if one.probabilities is None or other.probabilities is None:
        return np.allclose(one.values, other.values, RELATIVE, ABSOLUTE)
    close = np.allclose(one.probabilities, other.probabilities, RELATIVE, ABSOLUTE)
    top_two = np.sort(one.probabilities[0])[-2:]
    tie = len(top_two) > 1 and np.isclose(top_two[0], top_two[1], RELATIVE, ABSOLUTE)
    return bool(close and (tie or np.array_equal(one.values, other.values)))
