"""Finds out why a model fails on an example: which cell it rejects, or which of its parts fails."""

import warnings
from collections.abc import Sequence
from traceback import walk_tb
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer

from ..runtimes.scikit_learn.prepare import parts
from ..text import is_missing, one_line, reason, shown

_MAX_COLUMNS = 100
"""Columns that are tested: each costs some calls of the model."""
_MAX_CATEGORIES = 20


def why_it_fails(
    estimator: Any, method: str, example: Any, columns: Sequence[str], error: Exception
) -> str:
    """Why a method of the estimator fails on one example, and what to do: the end of a sentence.

    example: a DataFrame of one row, an array (1, columns), or a list of one text or dictionary.
    columns: their names.
    """
    because = f"({reason(error)})"
    for position, accepted in _rejected_cells(estimator, method, example):
        cell = _cells(example)[position]
        if is_missing(cell):
            found = "which the model does not accept there"
            remedy = "Fill it in the examples, or fit the model with an imputer"
        elif isinstance(cell, str) and not isinstance(accepted, str):
            found = "and the model takes a number there"
            remedy = "Correct the rows, or fit the model with a step that converts the column"
        else:
            found = "which the model does not know"
            remedy = "Take rows like those that the model was fitted on"
        return f"column {columns[position]} is {shown(cell)}, {found} {because}. {remedy}."
    part = failing_part(error)
    name = type(part or estimator).__name__
    if _is_text(example):
        return f"its {name} fails on {shown(example[0])} {because}. Correct the examples."
    return (
        f"its {name} fails on columns {one_line(', '.join(columns), most=200)} {because}. Give the "
        "columns that the model was fitted on, in their order: --columns A,B."
    )


def picks_by_name(example: Any, error: Exception) -> bool:
    """Whether the model fails because it picks columns by name, and the example is an array."""
    return isinstance(example, np.ndarray) and isinstance(failing_part(error), ColumnTransformer)


def failing_part(error: Exception) -> Any:
    """The innermost estimator in whose method the error was raised, or None."""
    owners = (frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__))
    return next((each for each in reversed([*owners]) if isinstance(each, BaseEstimator)), None)


def _rejected_cells(estimator: Any, method: str, example: Any) -> list[tuple[int, Any]]:
    """The positions of the cells because of which the model fails, each with a value that it takes.

    Usually it is one cell: with another value in its place the model succeeds. If several are
    texts in place of numbers, it succeeds with a number in place of each.
    """
    if _is_text(example):
        return []
    cells = _cells(example)
    texts = [position for position, cell in enumerate(cells) if isinstance(cell, str)]
    nulls = [position for position, cell in enumerate(cells) if is_missing(cell)]
    others = [n for n in range(len(cells)) if n not in {*texts, *nulls}]
    categories = _categories(estimator)
    known = list(dict.fromkeys(group[0] for group in categories if group))[:_MAX_CATEGORIES]
    for position in [*texts, *nulls, *others][:_MAX_COLUMNS]:
        for value in (0.0, *known):
            if _succeeds(estimator, method, _with(example, {position: value})):
                return [(position, value)]
    unknown = [n for n in texts if not any(cells[n] in group for group in categories)]
    if unknown and _succeeds(estimator, method, _with(example, dict.fromkeys(unknown, 0.0))):
        return [(position, 0.0) for position in unknown]
    return []


def _categories(estimator: Any) -> list[list[Any]]:
    """The categories that each encoder in the estimator knows, but for null."""
    return [
        [each for each in categories if not is_missing(each)]
        for part in parts(estimator)
        for categories in getattr(part, "categories_", None) or ()
    ]


def _with(example: Any, cells: dict[int, Any]) -> Any:
    """A copy of the example with other cells, by position."""
    if isinstance(example, list):
        names = list(example[0])
        return [example[0] | {names[position]: cell for position, cell in cells.items()}]
    if not isinstance(example, np.ndarray):
        changed = example.copy()
        for position, cell in cells.items():
            changed.isetitem(position, [cell])
        return changed
    changed = example.copy() if example.dtype == object else example.astype(object)
    for position, cell in cells.items():
        changed[0, position] = cell
    return changed


def _succeeds(estimator: Any, method: str, example: Any) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            getattr(estimator, method)(example)
    except Exception:  # any exception of the model
        return False
    return True


def _is_text(example: Any) -> bool:
    return isinstance(example, list) and isinstance(example[0], str)


def _cells(example: Any) -> list[Any]:
    if isinstance(example, list):
        return list(example[0].values())
    row = example[0] if isinstance(example, np.ndarray) else example.iloc[0]
    cells: list[Any] = row.tolist()
    return cells
