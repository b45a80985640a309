"""Asks a model what it accepts: null? values that were not among the examples?"""

from collections.abc import Sequence
from typing import Any

from ..artifact.load import Predict
from ..artifact.runtimes.settle import parts
from ..schema.signature import Cell, Column
from .estimator import NotPackaged
from .infer import MOST_CATEGORIES

Rows = Sequence[Sequence[Cell]]
UNSEEN = "a value that nobody has seen \u2603"


class Acceptance:
    """What a model accepts in place of the cells of one example row."""

    def __init__(self, predict: Predict, row: Sequence[Cell]) -> None:
        self._predict = predict
        self._row = list(row)

    def takes(self, cells: dict[int, Cell]) -> bool:
        """Whether the model answers with finite numbers when these cells are others."""
        return self._answers([self._with(cells)])

    def each(self, cells: dict[int, Cell]) -> set[int]:
        """The places whose new cell the model takes; asked at once if it takes all of them."""
        if self.takes(cells):
            return set(cells)
        return {place for place, cell in cells.items() if self.takes({place: cell})}

    def known(self, place: int, groups: list[list[Any]]) -> list[Any]:
        """Those of the values that the model takes in one place.

        groups: what the examples have, and what each encoder knows. One of those is usually this
        place's own and taken as a whole; where none is, each of their values is asked.
        """
        observed, *known = groups
        taken = [group for group in known if group and self.all(place, group)]
        rest = observed if taken else list(set().union(*groups))
        return sorted({*self.among(place, rest), *(value for group in taken for value in group)})

    def all(self, place: int, values: list[Any]) -> bool:
        """Whether the model takes every one of the values in one place."""
        return self._answers([self._with({place: value}) for value in values])

    def among(self, place: int, values: list[Any]) -> list[Any]:
        """Those of the values that the model takes in one place; asked by halves."""
        if not values or self.all(place, values):
            return values
        middle = len(values) // 2
        if not middle:
            return []
        return self.among(place, values[:middle]) + self.among(place, values[middle:])

    def _with(self, cells: dict[int, Cell]) -> list[Cell]:
        return [cells.get(place, cell) for place, cell in enumerate(self._row)]

    def _answers(self, rows: Rows) -> bool:
        try:
            return self._predict(rows).finite
        except Exception:  # whatever the model raises, it does not take it
            return False


def accepted(
    columns: Sequence[Column], rows: Rows, asking: Acceptance, estimator: Any
) -> list[Column]:
    """The columns with `nullable`, and with the categories that alone are taken, as found.

    asking: a model that its signature does not keep from null. estimator: what it holds may know
    more categories than the rows have.
    Raises NotPackaged where the examples have null and the model does not take it.
    """
    nullable = asking.each(dict.fromkeys(range(len(columns))))
    for place, column in enumerate(columns):
        if place not in nullable and any(row[place] is None for row in rows):
            number = next(number for number, row in enumerate(rows) if row[place] is None)
            raise NotPackaged(
                f"example row {number}: column {column.name} must be given; the model does not "
                "take null."
            )
    observed = [{row[place] for row in rows} - {None} for place in range(len(columns))]
    strange = {
        place: _unseen(column, observed[place])
        for place, column in enumerate(columns)
        if _may_be_categories(column, observed[place])
    }
    taken = asking.each(strange)
    found = []
    for place, column in enumerate(columns):
        update: dict[str, Any] = {"nullable": place in nullable}
        if place in strange.keys() - taken:
            known = asking.known(place, _candidates(column, observed[place], estimator))
            update |= {"categories": known, "enforce": True, "minimum": None, "maximum": None}
        found.append(column.model_copy(update=update))
    return found


def _may_be_categories(column: Column, observed: set[Cell]) -> bool:
    if column.dtype == "string":
        return bool(observed)
    whole = all(isinstance(value, int | float) and float(value).is_integer() for value in observed)
    return column.dtype != "bool" and whole and 0 < len(observed) <= MOST_CATEGORIES


def _unseen(column: Column, observed: set[Cell]) -> Cell:
    """A value between or beside those that were seen: a model of numbers takes it too."""
    if column.dtype == "string":
        return UNSEEN
    numbers = [value for value in observed if isinstance(value, int | float)]
    return int(max(numbers)) + 1 if column.dtype == "int64" else max(numbers) + 0.5


def _candidates(column: Column, observed: set[Cell], estimator: Any) -> list[list[Any]]:
    """What the model may know: the examples' values, and the categories of each encoder."""
    groups = [list(observed)]
    for part in parts(estimator):
        for categories in getattr(part, "categories_", None) or ():
            groups.append(getattr(categories, "tolist", list)())
    return [_of_kind(column, group) for group in groups]


def _of_kind(column: Column, values: list[Any]) -> list[Any]:
    if column.dtype == "string":
        return [value for value in values if isinstance(value, str)]
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
