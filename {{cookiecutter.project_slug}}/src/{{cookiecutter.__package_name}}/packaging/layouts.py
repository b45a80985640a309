"""Finds how an estimator is served: the simplest layout that gives its owner's own answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifact.manifest import Tolerance
from ..artifact.refusals import reason
from ..artifact.runtimes import scikit_learn
from ..artifact.runtimes.estimator import Estimator, fitted_on_array
from ..schema.answers import Answers, Prediction, agree
from ..schema.signature import Cell, Column, Signature
from .acceptance import Acceptance, accepted
from .answers import Owner
from .estimator import NotPackaged
from .examples import Examples, table
from .infer import signature_of
from .probes import MOST_ROWS

GOLDEN_EXAMPLES = 8

Rows = Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Served:
    """A model as it is served, and the examples.

    rows: all of them, in signature order. own: the estimator's own answers to some, by number.
    """

    predict: Estimator
    signature: Signature
    rows: Rows
    own: dict[int, Prediction]


def first_that_fits(
    estimator: Any,
    parse: Callable[[], Any],
    examples: Examples,
    found: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Served:
    """The simplest layout in which serving gives the owner's own answers.

    parse: the estimator as the artifact has it; serving changes it.
    Raises NotPackaged if there is none, for the reason of the first.
    """
    refused: NotPackaged | None = None
    for layout in _layouts(estimator, found):
        try:
            owner, rows = _owner(estimator, layout, examples, found)
            return _served(owner, parse(), signature_of(owner, layout, found, outputs), rows)
        except NotPackaged as error:
            refused = refused or error
    raise refused or NotPackaged("the model has no columns.")


def _served(owner: Owner, loaded: Any, draft: Signature, rows: Rows) -> Served:
    asking = draft.model_copy(
        update={"inputs": [c.model_copy(update={"nullable": True}) for c in draft.inputs]}
    )
    asked = Acceptance(scikit_learn.serve(loaded, asking), rows[owner.typical])
    taken = accepted(draft.inputs, rows, asked, loaded)
    signature = Signature.model_validate(draft.model_dump() | {"inputs": taken})
    served = scikit_learn.serve(loaded, signature)
    answers, tolerance = Answers(signature), Tolerance()
    own = {}
    for number in {*spread(len(rows), MOST_ROWS), *spread(len(rows), GOLDEN_EXAMPLES)}:
        own[number] = owner.answer(number, signature)
        try:
            (answer,) = answers(served([rows[number]]))
        except Exception as error:  # whatever the model raises
            text = f"served, the model fails on example row {number} ({reason(error)})."
            raise NotPackaged(text) from error
        if not agree(own[number], answer, tolerance.relative, tolerance.absolute):
            raise NotPackaged(f"served, the model answers example row {number} differently.")
    return Served(served, signature, rows, own)


def _layouts(estimator: Any, found: Sequence[Column]) -> list[str]:
    """What may be tried, the simplest first."""
    dtypes = {column.dtype for column in found}
    named = hasattr(estimator, "feature_names_in_")
    if dtypes == {"string"} and len(found) == 1 and not named:
        return ["text", "frame"]
    if dtypes <= {"float64", "int64"} or ("string" not in dtypes and not named):
        return ["array", "frame"]
    return ["frame"]


def _cell(cell: Cell, column: Column, layout: str) -> Cell:
    number = layout == "array" or column.dtype == "float64"
    return float(cell) if number and isinstance(cell, int | bool) else cell


def _owner(
    estimator: Any, layout: str, examples: Examples, found: Sequence[Column]
) -> tuple[Owner, list[list[Cell]]]:
    """The owner with the examples as they are without a service, and the rows as it has them."""
    rows = [[_cell(row[column.name], column, layout) for column in found] for row in examples.rows]
    typical = next((number for number, row in enumerate(rows) if None not in row), 0)
    if layout == "text":
        return Owner(estimator, [row[0] for row in rows], typical), rows
    named = hasattr(estimator, "feature_names_in_")
    frame = (
        table(examples, [column.name for column in found]) if named or layout == "frame" else None
    )
    if frame is None and layout == "frame":
        raise NotPackaged("columns of mixed types need pandas: `uv sync --extra package`.")
    fitted = np.array(rows, dtype=np.float64) if frame is None else frame
    if frame is not None and fitted_on_array(estimator):
        fitted = frame.to_numpy(dtype=object)
    return Owner(estimator, fitted, typical), rows


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers of rows, from all over the file: it may be sorted."""
    taken = min(most, count)
    return [number * count // taken for number in range(taken)]
