"""Compares a converted model with the estimator that it was made of, on generated rows."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..runtimes.base import Predict
from ..runtimes.scikit_learn.prepare import parts
from ..schema.predictions import Outputs
from ..schema.request_parser import Values
from ..schema.signature import FLOAT32_MAX, Cell, CellRows, Column, Signature
from .candidate import SINGLE_TOLERANCE
from .probes import UNSEEN

RANDOM_ROWS = 500
CHANGED_ROWS = 500
THRESHOLD_ROWS = 500
NULL_SHARE = 0.05


class Disagreement(Exception):
    """The converted model and the estimator give different predictions. number: of the row."""

    def __init__(self, number: int) -> None:
        super().__init__(f"row {number}")
        self.number = number


class AgreeingModels:
    """The converted model, which raises Disagreement where the estimator predicts otherwise.

    It is asked whether a row is accepted: an example with some other cells. Those are put into all
    examples, as a converted tree may answer otherwise in one branch only.
    """

    def __init__(
        self, converted: Predict, estimator: Predict, asked: Sequence[Cell], examples: CellRows
    ) -> None:
        """asked: the example whose cells are changed."""
        self._converted = converted
        self._estimator = estimator
        self._asked = asked
        self._examples = examples

    def __call__(self, rows: Values) -> Outputs:
        for row in cast("CellRows", rows):
            other = {n: cell for n, cell in enumerate(row) if cell != self._asked[n]}
            check_equal(
                self._converted,
                self._estimator,
                [[other.get(n, cell) for n, cell in enumerate(each)] for each in self._examples],
            )
        return self._converted(rows)


def check_equal(converted: Predict, estimator: Predict, rows: CellRows) -> None:
    """Raise Disagreement at the first row for which they predict otherwise."""
    found = converted(rows)
    expected = estimator(rows)
    different = differing_rows(expected, found)
    if len(different):
        raise Disagreement(int(different[0]))
    if not found.finite or not expected.finite:
        raise Disagreement(0)


def differing_rows(expected: Outputs, found: Outputs) -> NDArray[np.int64]:
    """The numbers of the rows whose predictions differ. Labels may differ where scores tie."""
    pairs = [
        (expected.probabilities, found.probabilities),
        (expected.scores, found.scores),
    ]
    if expected.values.dtype.kind == "f":
        pairs.append((expected.values, found.values))
        different = np.zeros(len(expected), dtype=bool)
    else:
        different = (found.values != expected.values) & ~_ties(expected)
    relative, absolute = SINGLE_TOLERANCE.relative, SINGLE_TOLERANCE.absolute
    for one, other in pairs:
        if one is not None and other is not None:
            close = np.isclose(other, one, relative, absolute)
            different |= ~close.reshape(len(expected), -1).all(axis=1)
    return np.flatnonzero(different)


def _ties(outputs: Outputs) -> NDArray[np.bool_]:
    """Whether the two highest probabilities of a row, or its score and 0, are too close to tell."""
    if outputs.scores is not None:
        return np.abs(outputs.scores) <= SINGLE_TOLERANCE.absolute
    if outputs.probabilities is None or outputs.probabilities.shape[1] == 1:
        return np.zeros(len(outputs), dtype=bool)
    top = np.sort(outputs.probabilities, axis=1)[:, -2:]
    ties: NDArray[np.bool_] = top[:, 1] - top[:, 0] <= 2 * SINGLE_TOLERANCE.absolute
    return ties


def generated_rows(signature: Signature, rows: CellRows, estimator: Any) -> list[list[Cell]]:
    """Rows that the signature accepts: within the observed ranges, beyond them, with null and
    unseen values, and at the thresholds of trees. They are the same at every call."""
    generator = random.Random(0)  # noqa: S311 - no secret
    columns = signature.inputs
    generated = [
        [_random_cell(column, row[position], generator) for position, column in enumerate(columns)]
        for row in generator.choices(rows, k=RANDOM_ROWS)
    ]
    changes = list(_changes(columns))
    changes = generator.sample(changes, min(CHANGED_ROWS, len(changes)))
    if signature.layout == "array":
        thresholds = list(_thresholds(estimator, len(columns)))
        changes += generator.sample(thresholds, min(THRESHOLD_ROWS, len(thresholds)))
    for position, cell in changes:
        row = list(generator.choice(rows))
        row[position] = cell
        generated.append(row)
    return generated


def _random_cell(column: Column, cell: Cell, generator: random.Random) -> Cell:
    if column.nullable and generator.random() < NULL_SHARE:
        return None
    if column.minimum is not None and column.maximum is not None:
        number = generator.uniform(column.minimum, column.maximum)
        return round(number) if column.dtype == "int64" else number
    choices: Sequence[Cell] = [cell]
    if column.allowed is not None:
        choices = column.allowed
    elif column.dtype == "bool":
        choices = [False, True]
    elif column.categories is not None:
        choices = [*column.categories, UNSEEN]
    return generator.choice(choices)


def _changes(columns: Sequence[Column]) -> Iterator[tuple[int, Cell]]:
    """Cells at and beyond the ends of what was observed, by position."""
    for position, column in enumerate(columns):
        if column.nullable:
            yield position, None
        if column.allowed is not None:
            continue
        if column.dtype == "string":
            yield position, UNSEEN
        elif column.minimum is not None and column.maximum is not None:
            span = column.maximum - column.minimum or 1.0
            for number in (
                column.minimum,
                column.maximum,
                column.minimum - span,
                column.maximum + span,
                column.maximum + 100 * span,
                0.0,
            ):
                if abs(number) <= FLOAT32_MAX:
                    yield position, int(number) if column.dtype == "int64" else number


def _thresholds(estimator: Any, width: int) -> Iterator[tuple[int, Cell]]:
    """The thresholds of trees whose columns are those of the model, and the numbers beside them."""
    for part in parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is None or getattr(part, "n_features_in_", None) != width:
            continue
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            if feature >= 0:
                near = np.float32(threshold)
                yield int(feature), float(threshold)
                yield int(feature), float(np.nextafter(near, np.float32(np.inf)))
                yield int(feature), float(np.nextafter(near, np.float32(-np.inf)))
                yield int(feature), float(np.nextafter(threshold, np.inf))
