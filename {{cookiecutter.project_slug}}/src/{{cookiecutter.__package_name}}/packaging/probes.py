"""Asks a model how it may be called: from several threads? many rows at once?"""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact.load import Predict
from ..artifact.threads import limit_threads
from ..schema.answers import Outputs
from ..schema.signature import Cell

THREADS = 4
CALLS = 32
MOST_ROWS = 64

# Scores may differ in their last bits between a row alone and in a batch: BLAS sums in another
# order. Labels may differ only where scores tie.
RELATIVE, ABSOLUTE = 1e-9, 1e-12


def probe(predict: Predict, rows: Sequence[Sequence[Cell]]) -> dict[str, bool]:
    """Returns `thread_safe` and `row_independent`, found by calling `predict` on example rows."""
    rows = list(rows[:MOST_ROWS])
    # Forests change the filters in every thread, and then warn of filters that are missing.
    with warnings.catch_warnings(action="ignore"):
        return {
            "thread_safe": _is_thread_safe(predict, rows),
            "row_independent": _is_row_independent(predict, rows),
        }


def _is_thread_safe(predict: Predict, rows: list[Sequence[Cell]]) -> bool:
    parts = [rows[number % len(rows) :] for number in range(CALLS)]
    alone = [predict(part) for part in parts]
    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        together = list(pool.map(predict, parts))
    return all(_equal(one, other) for one, other in zip(alone, together, strict=True))


def _is_row_independent(predict: Predict, rows: list[Sequence[Cell]]) -> bool:
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
    return np.array_equal(one.values, other.values) and all(
        np.array_equal(*pair) for pair in _numbers(one, other)
    )


def _same_row(one: Outputs, other: Outputs) -> bool:
    numbers = _numbers(one, other)
    if one.values.dtype.kind == "f":
        return np.allclose(one.values, other.values, RELATIVE, ABSOLUTE)
    close = all(np.allclose(*pair, RELATIVE, ABSOLUTE) for pair in numbers)
    return close and (_tie(one) or np.array_equal(one.values, other.values))


def _numbers(one: Outputs, other: Outputs) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Probabilities and scores, of both."""
    pairs = ((one.probabilities, other.probabilities), (one.scores, other.scores))
    return [(own, its) for own, its in pairs if own is not None and its is not None]


def _tie(row: Outputs) -> bool:
    """Whether scores leave open what the labels of this one row are."""
    if row.scores is not None:
        return np.allclose(row.scores, 0, RELATIVE, ABSOLUTE)
    if row.probabilities is None:
        return False
    if row.values.ndim > 1:  # indicators
        return bool(np.isclose(row.probabilities, 0.5, RELATIVE, ABSOLUTE).any())
    top_two = np.sort(row.probabilities[0])[-2:]
    return len(top_two) > 1 and bool(np.isclose(top_two[0], top_two[1], RELATIVE, ABSOLUTE))
