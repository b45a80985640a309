"""Finds the simplest layout in which a served estimator gives the predictions of the reference."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..distribution import add_command
from ..runtimes.scikit_learn.estimator import fitted_on_array, takes_records
from ..runtimes.scikit_learn.loading import wrap_estimator
from ..runtimes.scikit_learn.prepare import parts
from ..schema.signature import CellRows, Column, Layout
from .candidate import Candidate, convert_rows, verified_candidate
from .errors import NotPackaged
from .examples import Examples, to_frame
from .infer_columns import usual_layout
from .infer_signature import infer_signature
from .reference_model import NeedsFrame, ReferenceModel


def find_layout(
    estimator: Any,
    parse: Callable[[], Any],
    examples: Examples,
    columns: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Candidate:
    """The candidate with the simplest layout that gives the predictions of the reference model.

    parse: returns the estimator of the artifact, which serving modifies.
    Raises NotPackaged if there is none; the error is that of the simplest layout that may fit.
    """
    first_error: NotPackaged | None = None
    for layout in possible_layouts(estimator, columns):
        try:
            reference, rows = reference_model(estimator, layout, examples, columns)
            signature = infer_signature(reference, layout, columns, outputs)
            served = parse()
            serve = partial(wrap_estimator, served)
            return verified_candidate(reference, serve, signature, rows, known_categories(served))
        except NotPackaged as error:
            if first_error is None or isinstance(first_error, NeedsFrame):
                first_error = error
    raise first_error or NotPackaged("the model has no columns.")


def possible_layouts(estimator: Any, columns: Sequence[Column]) -> list[Layout]:
    """The possible layouts, the simplest first."""
    simplest = usual_layout(columns)
    named_text = simplest == "text" and hasattr(estimator, "feature_names_in_")
    if takes_records(estimator) or named_text or simplest == "frame":
        return ["frame"]
    return [simplest, "frame"]


def reference_model(
    estimator: Any, layout: Layout, examples: Examples, columns: Sequence[Column]
) -> tuple[ReferenceModel, CellRows]:
    """The reference model, and the examples as rows in signature order."""
    rows = convert_rows(examples.rows, columns, layout)
    names = [column.name for column in columns]
    complete = next((number for number, row in enumerate(rows) if None not in row), 0)
    if layout == "text":
        return ReferenceModel(estimator, [row[0] for row in rows], complete, names), rows
    if takes_records(estimator):
        records = [dict(zip(names, row, strict=True)) for row in rows]
        return ReferenceModel(estimator, records, complete, names), rows
    frame = None
    if layout == "frame" or hasattr(estimator, "feature_names_in_"):
        frame = to_frame(examples, names)
    if frame is None and layout == "frame":
        raise NotPackaged(
            "columns of mixed types, and models that pick columns by name, need pandas, which is "
            f"not installed. Add it: {add_command('pandas')}"
        )
    fitted: Any = np.array(rows, dtype=np.float64) if frame is None else frame
    if frame is not None and fitted_on_array(estimator):
        fitted = frame.to_numpy(dtype=object)
    return ReferenceModel(estimator, fitted, complete, names), rows


def known_categories(estimator: Any) -> list[list[Any]]:
    """The categories of each encoder in an estimator."""
    return [
        getattr(categories, "tolist", list)()
        for part in parts(estimator)
        for categories in getattr(part, "categories_", None) or ()
    ]
