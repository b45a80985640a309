"""The short way through the first step of a pipeline over mixed columns: no DataFrame is built.

A DataFrame and a ColumnTransformer spend some five milliseconds on a call that encodes a few cells.
Here numbers go into one array, and each category is looked up in a dict of those that the encoder
was fitted on. The other steps of the pipeline get the matrix that the first step would make of the
DataFrame, to the last bit, or `ServedEstimator` leaves this way out.

Formulas: scikit-learn 1.9, `ColumnTransformer.transform`, `OneHotEncoder.transform`,
`OrdinalEncoder.transform`, `SimpleImputer.transform`; scalers: `fast_paths.py`.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ...schema.signature import Cell, CellRows, Column
from .fast_paths import MATRIX_STEPS, Matrix, OutOfRange, fills, step_name

Cells = Sequence[Cell]
Encode = Callable[[list[Cells]], Any]
"""From the cells of some columns, n each, to a block (n, width) of the matrix."""

EXACT = 2**53
"""Larger integers are no exact floats: the estimator may round them later than is done here."""
_TRIAL_ROWS = 24


def column_encoder(step: Any, inputs: list[Column]) -> Callable[[CellRows], Any]:
    """A fast `transform` of the first step of a pipeline, from n rows to its matrix.

    The matrix is (n, features) float64, sparse if that of the step is. Raises OutOfRange if the
    step, or one inside of it, is not known here. The function raises any exception for rows that it
    leaves to the estimator.
    """
    blocks = [
        (positions, _block(steps, [inputs[position] for position in positions]))
        for steps, positions in _parts(step, len(inputs))
    ]
    sparse = getattr(step, "sparse_output_", getattr(step, "sparse_output", False))
    check = _checks(inputs)

    def matrix(rows: CellRows) -> Any:
        columns = check([*zip(*rows, strict=True)])
        made = [encode([columns[each] for each in positions]) for positions, encode in blocks]
        return csr_matrix(np.hstack(made)) if sparse else np.hstack(made)

    return matrix


def trial_batches(inputs: list[Column], rows: CellRows) -> Iterator[list[list[Cell]]]:
    """Batches that show a difference between two ways: golden examples, the same cells mixed anew,
    numbers beyond their range, nulls, and categories that training has not seen."""
    chance = random.Random(0)  # noqa: S311 - the same rows at every start
    seen = [[cell for cell in cells if cell is not None] for cells in zip(*rows, strict=True)]
    known = [
        [*cells, *(column.categories or ())] if column.dtype == "string" else cells
        for column, cells in zip(inputs, seen, strict=True)
    ]
    known = [cells or [None] for cells in known]

    def batch(change: Callable[[Column, Cell], Cell]) -> list[list[Cell]]:
        return [
            [change(column, chance.choice(c)) for column, c in zip(inputs, known, strict=True)]
            for _ in range(_TRIAL_ROWS)
        ]

    def beyond(column: Column, cell: Cell) -> Cell:
        if column.dtype == "int64":
            return chance.choice([cell, 0, -1, 10**6, -EXACT])
        if column.dtype == "float64":
            return chance.choice([cell, 0.0, -0.5, -1e9, 1e-9, 1e30])
        return cell

    def with_nulls(column: Column, cell: Cell) -> Cell:
        holds_null = column.nullable and column.dtype in {"float64", "string"}
        return chance.choice([cell, None]) if holds_null else cell

    def unseen(column: Column, cell: Cell) -> Cell:
        return chance.choice([cell, "", "\u00e9 unseen"]) if column.dtype == "string" else cell

    yield [list(row) for row in rows]
    for change in (lambda _, cell: cell, beyond, with_nulls, unseen):
        changed = batch(change)
        yield changed
        yield changed[:1]


def _parts(step: Any, width: int) -> list[tuple[list[Any], list[int]]]:
    """The steps that are applied to some columns, and the positions of these, in fitted order."""
    if step_name(step) != "ColumnTransformer":
        return [([step], list(range(width)))]
    positions = step._transformer_to_input_indices
    return [
        (_flat(inner), list(positions[name]))
        for name, inner, _ in step.transformers_
        if not (isinstance(inner, str) and inner == "drop") and len(positions[name])
    ]


def _flat(step: Any) -> list[Any]:
    if step_name(step) == "Pipeline":
        return [each for _, inner in step.steps for each in _flat(inner)]
    return [step]


def _block(steps: list[Any], columns: list[Column]) -> Encode:
    """The encoding of one block: cells become numbers at its encoder, or at first."""
    numbers = all(column.dtype in {"float64", "int64", "bool"} for column in columns)
    of_cells: list[Encode] = []
    of_matrix: list[Callable[[Matrix], Matrix]] = []
    encoded = False
    for step in steps:
        name = step_name(step)
        if _does_nothing(step):
            continue
        if name in _ENCODERS and not encoded and not of_matrix:
            of_cells.append(_ENCODERS[name](step))
            encoded = True
        elif name == "SimpleImputer" and not numbers and not encoded:
            of_cells.append(_impute_cells(step))
        elif name in MATRIX_STEPS and (numbers or encoded):
            of_matrix.append(MATRIX_STEPS[name](step))
        else:
            raise OutOfRange
    if not encoded and not numbers:
        raise OutOfRange
    if not encoded:
        of_cells.append(lambda cells: np.array(cells, dtype=np.float64).T)
    functions: list[Callable[[Any], Any]] = [*of_cells, *of_matrix]

    def encode(cells: list[Cells]) -> Any:
        block: Any = cells
        for function in functions:
            block = function(block)
        return block

    return encode


def _checks(inputs: list[Column]) -> Callable[[list[Cells]], list[Cells]]:
    """A function that gives columns the cells that a DataFrame would have.

    It raises OutOfRange where the type of a whole column of the DataFrame depends on its cells.
    """
    integers = [number for number, column in enumerate(inputs) if column.dtype == "int64"]
    whole = [n for n, column in enumerate(inputs) if column.dtype in {"int64", "bool"}]
    nullable = [number for number in whole if inputs[number].nullable]
    categorical = {
        number: frozenset(column.categories or ())
        for number, column in enumerate(inputs)
        if column.categorical
    }

    def check(columns: list[Cells]) -> list[Cells]:
        if any(None in columns[number] for number in nullable):
            raise OutOfRange
        for number in integers:
            if max(columns[number]) > EXACT or min(columns[number]) < -EXACT:  # type: ignore
                raise OutOfRange
        for number, known in categorical.items():
            columns[number] = [cell if cell in known else None for cell in columns[number]]
        return columns

    return check


def _does_nothing(step: Any) -> bool:
    if isinstance(step, str):
        return step == "passthrough"
    return step_name(step) == "FunctionTransformer" and step.func is None


def _impute_cells(imputer: Any) -> Callable[[list[Cells]], list[Cells]]:
    values = fills(imputer).tolist()

    def fill(columns: list[Cells]) -> list[Cells]:
        return [
            [value if cell is None else cell for cell in cells] if None in cells else cells
            for cells, value in zip(columns, values, strict=True)
        ]

    return fill


def _one_hot(encoder: Any) -> Encode:
    _check_all_frequent(encoder)
    ignored = {"error": None, "ignore": -1}[encoder.handle_unknown]
    dropped = (
        encoder.drop_idx_ if encoder.drop_idx_ is not None else [None] * len(encoder.categories_)
    )
    finders = []
    width = 0
    for categories, without in zip(encoder.categories_, dropped, strict=True):
        kept = [number for number in range(len(categories)) if number != without]
        places = {number: width + place for place, number in enumerate(kept)}
        width += len(kept)
        finders.append(
            _finder({key: places.get(n, -1) for n, key in enumerate(_keys(categories))}, ignored)
        )

    def encode(columns: list[Cells]) -> Matrix:
        rows = np.arange(len(columns[0]))
        block = np.zeros((len(rows), width + 1))  # the last column is of what has none
        for cells, find in zip(columns, finders, strict=True):
            block[rows, find(cells)] = 1.0
        return block[:, :-1]

    return encode


def _ordinal(encoder: Any) -> Encode:
    _check_all_frequent(encoder)
    unknown = {"error": None, "use_encoded_value": encoder.unknown_value}[encoder.handle_unknown]
    finders = [
        _finder(
            {
                key: encoder.encoded_missing_value if key is None else number
                for number, key in enumerate(_keys(categories))
            },
            unknown,
        )
        for categories in encoder.categories_
    ]

    def encode(columns: list[Cells]) -> Matrix:
        found = [find(cells) for cells, find in zip(columns, finders, strict=True)]
        return np.ascontiguousarray(np.array(found, dtype=np.float64).T)

    return encode


_ENCODERS: dict[str, Callable[[Any], Encode]] = {
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
}


def _check_all_frequent(encoder: Any) -> None:
    if encoder.min_frequency is not None or encoder.max_categories is not None:
        raise OutOfRange  # infrequent categories share a column


def _keys(categories: Any) -> list[Cell]:
    """Categories as cells: null for NaN, as a DataFrame has NaN for null."""
    return [None if key != key else key for key in categories.tolist()]  # noqa: PLR0124 - NaN


def _finder(numbers: dict[Cell, Any], unknown: Any) -> Callable[[Cells], list[Any]]:
    """From cells to their numbers; without a number for what is unknown, this raises KeyError."""
    if unknown is None:
        return lambda cells: [numbers[cell] for cell in cells]
    return lambda cells: [numbers.get(cell, unknown) for cell in cells]
