"""Tests whether a model may be called from several threads, and with many rows at once.

A batch holds the rows of strangers, which may be anything that the signature accepts. So the
examples are predicted in batches with such neighbours too: rows with null, with unseen values, with
the lowest and the highest numbers, and with long texts.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blas_threads import limit_threads
from ..runtimes.base import Predict
from ..schema.predictions import Outputs
from ..schema.signature import Cell, CellRows, Signature

THREADS = 4
CALLS = 32
MAX_ROWS = 64
MAX_NEIGHBOURS = 32
KINDS = 3
"""Kinds of neighbours: null, unseen values, long texts."""
UNSEEN = "a value that was not in training \u2603"
LONG_TEXT = f"{UNSEEN} " * 1000

# The last bits of a row's scores may differ between a call with the row alone and one with a batch,
# as BLAS sums in another order. Labels may differ only if scores tie.
EXACT = 1e-9, 1e-12
SINGLE = 1e-5, 1e-6
"""Relative and absolute tolerance of numbers that are computed with float64, and with float32."""


def probe(predict: Predict, rows: CellRows, signature: Signature) -> dict[str, bool]:
    """Test `thread_safe` and `row_independent`.

    rows: examples in signature order, of which at most MAX_ROWS are used.
    """
    rows = list(rows[:MAX_ROWS])
    # Forests change the warning filters in every thread, and then warn of missing filters.
    with warnings.catch_warnings(action="ignore"):
        near = _predictable(predict, islice(neighbours(signature, rows), MAX_NEIGHBOURS))
        far = _predictable(predict, extremes(signature, rows[0]))
        mixed = _mixed(rows, near)
        return {
            "thread_safe": _is_thread_safe(predict, [*rows, *near[:KINDS]]),
            "row_independent": _is_row_independent(predict, mixed, far),
        }


def neighbours(signature: Signature, rows: CellRows) -> Iterator[list[Cell]]:
    """Rows that differ from examples in cells that no example may have, but a request may.

    First one of each kind, in all columns; then in one column each, of one example after another.
    """
    columns = list(enumerate(signature.inputs))
    texts = [n for n, column in columns if column.dtype == "string" and column.allowed is None]
    kinds: list[dict[int, Cell]] = [
        {n: None for n, column in columns if column.nullable},
        dict.fromkeys(texts, UNSEEN),
        dict.fromkeys(texts, LONG_TEXT),
    ]
    for cells in filter(None, kinds):
        yield _with(rows[0], cells)
    singles = chain.from_iterable(zip_longest(*(cells.items() for cells in kinds)))
    for number, single in enumerate(filter(None, singles)):
        yield _with(rows[number % len(rows)], dict([single]))


def extremes(signature: Signature, row: Sequence[Cell]) -> list[list[Cell]]:
    """The row with the lowest, and with the highest, number that the signature accepts in every
    numeric column. Their own predictions are no test: sums of such numbers have no exact digits."""
    numeric = {
        position: column.bounds
        for position, column in enumerate(signature.inputs)
        if column.dtype in {"float64", "int64"} and column.allowed is None
    }
    return [
        _with(row, {position: bounds[end] for position, bounds in numeric.items()})
        for end in (0, 1)
        if numeric
    ]


def _with(row: Sequence[Cell], cells: dict[int, Cell]) -> list[Cell]:
    return [cells.get(position, cell) for position, cell in enumerate(row)]


def _predictable(predict: Predict, rows: Iterable[list[Cell]]) -> list[list[Cell]]:
    """The rows for which the model predicts finite numbers: the batcher isolates all others."""
    accepted = []
    for row in rows:
        with suppress(Exception):  # any exception of the model
            if predict([row]).finite:
                accepted.append(row)
    return accepted


def _mixed(rows: CellRows, others: CellRows) -> list[Any]:
    """All rows of both, in turn."""
    return [row for row in chain.from_iterable(zip_longest(rows, others)) if row is not None]


def _is_thread_safe(predict: Predict, rows: CellRows) -> bool:
    parts = [rows[number % len(rows) :] for number in range(CALLS)]
    sequential = [predict(part) for part in parts]
    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        concurrent = list(pool.map(predict, parts))
    return all(_equal(one, other) for one, other in zip(sequential, concurrent, strict=True))


def _is_row_independent(predict: Predict, rows: CellRows, far: CellRows) -> bool:
    """Whether the predictions for `rows` are the same alone, and in any batch with `far`."""
    batch = predict([*rows, *far])
    reverse = predict([*far, *rows[::-1]]).part(len(far), len(far) + len(rows))
    same_row = _SameRow(SINGLE if _is_single(batch) else EXACT)
    for number, row in enumerate(rows):
        in_batch = batch.part(number, number + 1)
        position = len(rows) - 1 - number
        if not same_row(predict([row]), in_batch):
            return False
        if not same_row(reverse.part(position, position + 1), in_batch):
            return False
    return True


def _is_single(outputs: Outputs) -> bool:
    """Whether the numbers look like those of float32: none has more digits."""
    numbers = (outputs.values, outputs.probabilities, outputs.scores)
    floats = [each for each in numbers if each is not None and each.dtype.kind == "f"]
    with np.errstate(all="ignore"):
        return all(np.array_equal(each, each.astype(np.float32)) for each in floats)


def _equal(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(one.values, other.values) and all(
        np.array_equal(*pair) for pair in _score_pairs(one, other)
    )


class _SameRow:
    """Whether two predictions for one row are the same. tolerance: relative and absolute."""

    def __init__(self, tolerance: tuple[float, float]) -> None:
        self._tolerance = tolerance

    def __call__(self, one: Outputs, other: Outputs) -> bool:
        if one.values.dtype.kind == "f":
            return np.allclose(one.values, other.values, *self._tolerance)
        close = all(np.allclose(*pair, *self._tolerance) for pair in _score_pairs(one, other))
        return close and (self._tie(one) or np.array_equal(one.values, other.values))

    def _tie(self, row: Outputs) -> bool:
        """Whether the scores of this one row are too close to determine its labels."""
        if row.scores is not None:
            return np.allclose(row.scores, 0, *self._tolerance)
        if row.probabilities is None:
            return False
        if row.values.ndim > 1:  # indicators
            return bool(np.isclose(row.probabilities, 0.5, *self._tolerance).any())
        top_two = np.sort(row.probabilities[0])[-2:]
        return len(top_two) > 1 and bool(np.isclose(top_two[0], top_two[1], *self._tolerance))


def _score_pairs(one: Outputs, other: Outputs) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The probabilities of both and the scores of both, if the model has them."""
    pairs = ((one.probabilities, other.probabilities), (one.scores, other.scores))
    return [(a, b) for a, b in pairs if a is not None and b is not None]
