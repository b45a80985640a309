"""Tests whether a model may be called from several threads, and with many rows at once."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blas_threads import limit_threads
from ..runtimes.base import Predict
from ..schema.predictions import Outputs
from ..schema.signature import CellRows

THREADS = 4
CALLS = 32
MAX_ROWS = 64

# The last bits of a row's scores may differ between a call with the row alone and one with a batch,
# as BLAS sums in another order. Labels may differ only if scores tie.
RELATIVE = 1e-9
ABSOLUTE = 1e-12


def probe(predict: Predict, rows: CellRows) -> dict[str, bool]:
    """Test `thread_safe` and `row_independent` by calls with at most MAX_ROWS example rows."""
    rows = list(rows[:MAX_ROWS])
    # Forests change the warning filters in every thread, and then warn of missing filters.
    with warnings.catch_warnings(action="ignore"):
        return {
            "thread_safe": _is_thread_safe(predict, rows),
            "row_independent": _is_row_independent(predict, rows),
        }


def _is_thread_safe(predict: Predict, rows: CellRows) -> bool:
    parts = [rows[number % len(rows) :] for number in range(CALLS)]
    sequential = [predict(part) for part in parts]
    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        concurrent = list(pool.map(predict, parts))
    return all(_equal(one, other) for one, other in zip(sequential, concurrent, strict=True))


def _is_row_independent(predict: Predict, rows: CellRows) -> bool:
    batch = predict(rows)
    reverse = predict(rows[::-1])
    for number, row in enumerate(rows):
        in_batch = batch.part(number, number + 1)
        position = len(rows) - 1 - number
        if not _same_row(predict([row]), in_batch):
            return False
        if not _same_row(reverse.part(position, position + 1), in_batch):
            return False
    return True


def _equal(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(one.values, other.values) and all(
        np.array_equal(*pair) for pair in _score_pairs(one, other)
    )


def _same_row(one: Outputs, other: Outputs) -> bool:
    if one.values.dtype.kind == "f":
        return np.allclose(one.values, other.values, RELATIVE, ABSOLUTE)
    close = all(np.allclose(*pair, RELATIVE, ABSOLUTE) for pair in _score_pairs(one, other))
    return close and (_tie(one) or np.array_equal(one.values, other.values))


def _score_pairs(one: Outputs, other: Outputs) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The probabilities of both and the scores of both, if the model has them."""
    pairs = ((one.probabilities, other.probabilities), (one.scores, other.scores))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _tie(row: Outputs) -> bool:
    """Whether the scores of this one row are too close to determine its labels."""
    if row.scores is not None:
        return np.allclose(row.scores, 0, RELATIVE, ABSOLUTE)
    if row.probabilities is None:
        return False
    if row.values.ndim > 1:  # indicators
        return bool(np.isclose(row.probabilities, 0.5, RELATIVE, ABSOLUTE).any())
    top_two = np.sort(row.probabilities[0])[-2:]
    return len(top_two) > 1 and bool(np.isclose(top_two[0], top_two[1], RELATIVE, ABSOLUTE))
