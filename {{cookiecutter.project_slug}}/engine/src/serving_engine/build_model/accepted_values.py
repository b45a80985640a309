"""Finds which values a model accepts, by calling it: null, and values that no example has."""

from collections.abc import Sequence
from typing import Any

from ..runtimes.base import Predict
from ..schema.signature import Cell, CellRows, Column
from .errors import NotPackaged
from .infer_columns import MAX_CATEGORIES, is_number
from .probes import UNSEEN

MANY_EXAMPLES = 20
MOSTLY = 0.9
"""A column of texts identifies its rows if more than this share of many examples differ."""


class AcceptedValues:
    """Tests which cells a model accepts in place of those of one example row.

    A model accepts a row if it predicts finite numbers for it. Positions are those of columns.
    """

    def __init__(self, predict: Predict, row: Sequence[Cell]) -> None:
        self._predict = predict
        self._row = list(row)

    def accepts(self, cells: dict[int, Cell]) -> bool:
        """Whether the model accepts the row with these cells, by position."""
        return self._accepts_rows([self._row_with(cells)])

    def accepted_positions(self, cells: dict[int, Cell]) -> set[int]:
        """The positions whose new cell the model accepts; one call if it accepts all of them."""
        if self.accepts(cells):
            return set(cells)
        return {position for position, cell in cells.items() if self.accepts({position: cell})}

    def accepted_categories(self, position: int, groups: list[list[Any]]) -> list[Any]:
        """The values that the model accepts in one position.

        groups: the values of the examples, then the categories of each encoder. Usually the model
        accepts a whole group, that of the column's encoder. If not, every value is tested.
        """
        observed, *encoders = groups
        accepted = [group for group in encoders if group and self.accepts_all(position, group)]
        others = observed if accepted else list(set().union(*groups))
        return sorted(set(self.accepted_among(position, others)).union(*accepted))

    def accepts_all(self, position: int, values: list[Any]) -> bool:
        """Whether the model accepts each of the values in one position."""
        return self._accepts_rows([self._row_with({position: value}) for value in values])

    def accepted_among(self, position: int, values: list[Any]) -> list[Any]:
        """Those of the values that the model accepts in one position; found by bisection."""
        if not values or self.accepts_all(position, values):
            return values
        middle = len(values) // 2
        if not middle:
            return []
        first_half = self.accepted_among(position, values[:middle])
        return first_half + self.accepted_among(position, values[middle:])

    def _row_with(self, cells: dict[int, Cell]) -> list[Cell]:
        return [cells.get(position, cell) for position, cell in enumerate(self._row)]

    def _accepts_rows(self, rows: CellRows) -> bool:
        try:
            return self._predict(rows).finite
        except Exception:  # any exception of the model means that it does not accept the rows
            return False


def accepted_columns(
    columns: Sequence[Column],
    rows: CellRows,
    model: AcceptedValues,
    known: Sequence[Sequence[Any]] = (),
) -> list[Column]:
    """The columns with `nullable` as tested, and with `enforce` if no unseen value is accepted.

    model: its signature allows null in every column. known: the categories of each encoder of the
    model, which may be more than the rows have.
    Raises NotPackaged if a row has null in a column in which the model does not accept it.
    """
    nullable = model.accepted_positions(dict.fromkeys(range(len(columns))))
    for position, column in enumerate(columns):
        number = next((n for n, row in enumerate(rows) if row[position] is None), None)
        if number is not None and position not in nullable:
            raise NotPackaged(
                f"example row {number}: column {column.name} is null, which the model does not "
                "accept. Fill it in the examples, or fit the model with an imputer."
            )
    observed = [{row[position] for row in rows} - {None} for position in range(len(columns))]
    unseen = {
        position: _unseen_value(column, observed[position])
        for position, column in enumerate(columns)
        if _may_be_categories(column, observed[position])
    }
    enforced = unseen.keys() - model.accepted_positions(unseen)
    accepted = []
    for position, column in enumerate(columns):
        update: dict[str, Any] = {"nullable": position in nullable}
        if position in enforced:
            _check_may_be_closed(column, [row[position] for row in rows])
            groups = _category_groups(column, observed[position], known)
            categories = model.accepted_categories(position, groups)
            update |= {"categories": categories, "enforce": True, "minimum": None, "maximum": None}
        accepted.append(column.model_copy(update=update))
    return accepted


def _check_may_be_closed(column: Column, cells: Sequence[Cell]) -> None:
    """Raise NotPackaged if nearly every example has a text of its own, and the model no others."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    if len(texts) >= MANY_EXAMPLES and len(set(texts)) > MOSTLY * len(texts):
        raise NotPackaged(
            f"column {column.name}: the model accepts only the {len(set(texts))} texts that it was "
            "fitted with, and nearly every example has its own: requests with new ones would all "
            "get 422. Fit the model without the column, or its encoder with "
            "handle_unknown='ignore'."
        )


def _may_be_categories(column: Column, observed: set[Cell]) -> bool:
    if column.dtype == "string":
        return bool(observed)
    whole = all(is_number(value) and float(value).is_integer() for value in observed)
    return column.dtype != "bool" and whole and 0 < len(observed) <= MAX_CATEGORIES


def _unseen_value(column: Column, observed: set[Cell]) -> Cell:
    """A value that no example has; a number close to theirs, which a numeric model accepts."""
    if column.dtype == "string":
        return UNSEEN
    largest = max(filter(is_number, observed))
    return int(largest) + 1 if column.dtype == "int64" else largest + 0.5


def _category_groups(
    column: Column, observed: set[Cell], known: Sequence[Sequence[Any]]
) -> list[list[Any]]:
    """The values of the examples, then the categories of each encoder."""
    return [_values_of_type(column, group) for group in (list(observed), *known)]


def _values_of_type(column: Column, values: Sequence[Any]) -> list[Any]:
    if column.dtype == "string":
        return [value for value in values if isinstance(value, str)]
    return [float(value) for value in values if is_number(value)]
