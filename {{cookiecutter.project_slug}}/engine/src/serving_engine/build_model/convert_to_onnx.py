"""Converts an estimator to ONNX, and accepts the result only if it predicts what that predicts."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle, islice
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.impute import SimpleImputer

from ..model_files.load_errors import LoadError
from ..runtimes.base import Predict, Predictor
from ..runtimes.captured_warnings import install_warning_capture
from ..runtimes.onnx.predictor import NULL_TEXT, OnnxPredictor, open_session
from ..runtimes.scikit_learn.loading import wrap_estimator
from ..runtimes.scikit_learn.prepare import parts
from ..schema.predictions import PredictionFormatter, describe_difference
from ..schema.signature import Cell, CellRows, Column, Signature
from ..text import one_line, reason
from .candidate import SINGLE_TOLERANCE, Candidate, spread, verified_candidate
from .errors import NotPackaged
from .examples import Examples
from .infer_signature import infer_signature
from .layout_search import known_categories, possible_layouts, reference_model
from .parity import AgreeingModels, Disagreement, check_equal, generated_rows
from .probes import MAX_ROWS
from .reference_model import NeedsFrame
from .report import milliseconds

OPSETS = {"": 21, "ai.onnx.ml": 3}
"""The versions of the operators; tools that check trees read no later ones of the second."""

TASKS = {"classification", "regression", "clustering", "outlier-detection"}
MATRIX_NAME = "inputs"
MISSING_TEXT = "\u2400"
"""Stands for null in texts: the symbol for it, which no other text should be."""
_MAX_NODES = 20_000
"""Nodes of trees up to which a proof is tried: it takes a second for some thousands."""
_SECONDS = 5
_BATCH = 256

Serve = Callable[[Signature], Predictor]
"""Returns the converted model as it is served with a signature."""

_INSTEAD = "Serve it with the runtime scikit-learn: --runtime scikit-learn."


def convert(
    estimator: Any,
    examples: Examples,
    columns: Sequence[Column],
    outputs: Sequence[str] | None,
    progress: Callable[[str], None],
) -> tuple[bytes, Candidate]:
    """The ONNX model of an estimator and the candidate that it is.

    outputs: names of several outputs. progress: called with a line about each step.
    Raises NotPackaged if there is no ONNX model that predicts what the estimator predicts.
    """
    install_warning_capture()
    named = _with_null_text(estimator)
    problems: list[NotPackaged] = []
    for layout in possible_layouts(estimator, columns):
        try:
            reference, rows = reference_model(estimator, layout, examples, columns)
            signature = infer_signature(reference, layout, columns, outputs)
        except NeedsFrame as error:
            problems.append(error)
            continue
        if signature.task not in TASKS:
            raise NotPackaged(f"{signature.task} cannot be converted to ONNX. {_INSTEAD}")
        for types in _input_types(signature):
            try:
                data = _to_onnx(named, types)
                serve = partial(OnnxPredictor, open_session(data))
                candidate = _verified(serve, estimator, signature, reference, rows)
            except LoadError as error:
                problems.append(NotPackaged(f"{error.problem}. {_INSTEAD}"))
                continue
            except NotPackaged as error:
                problems.append(error)
                continue
            candidate = _proved(data, serve, estimator, candidate, progress)
            progress(_times(candidate, estimator))
            return data, candidate
    raise problems[0]


def _input_types(signature: Signature) -> Iterator[list[tuple[str, Any]]]:
    """The inputs of the converted model: with float32 first, and each column's own type last."""
    columns = signature.inputs
    if signature.layout == "text":
        yield [(columns[0].name, StringTensorType([None, 1]))]
        return
    for number in (FloatTensorType, DoubleTensorType):
        if signature.layout == "array":
            yield [(MATRIX_NAME, number([None, len(columns)]))]
            continue
        own = {"int64": Int64TensorType, "bool": BooleanTensorType}
        for exact in ({}, own):
            yield [
                (
                    column.name,
                    StringTensorType([None, 1])
                    if column.dtype == "string"
                    else exact.get(column.dtype, number)([None, 1]),
                )
                for column in columns
            ]


def _to_onnx(estimator: Any, types: list[tuple[str, Any]]) -> bytes:
    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    try:
        with warnings.catch_warnings(action="ignore"):
            model = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSETS)
        model.metadata_props.add(key=NULL_TEXT, value=MISSING_TEXT)
        data: bytes = model.SerializeToString()
    except Exception as error:  # there is no list of what the converters raise
        raise NotPackaged(
            f"skl2onnx cannot convert the model ({one_line(reason(error), most=200)}). {_INSTEAD}"
        ) from error
    return data


def _with_null_text(estimator: Any) -> Any:
    """A copy whose imputers fill MISSING_TEXT in texts: skl2onnx knows no other missing text."""
    named = deepcopy(estimator)
    for part in parts(named):
        statistics = np.asarray(getattr(part, "statistics_", 0))  # the unfitted ones are parts too
        if isinstance(part, SimpleImputer) and statistics.dtype.kind == "O":
            part.missing_values = MISSING_TEXT
    return named


def _verified(
    serve: Serve, estimator: Any, inferred: Signature, reference: Any, rows: CellRows
) -> Candidate:
    """The candidate of a converted model. Raises NotPackaged if it differs from the estimator."""
    served = deepcopy(estimator)
    try:
        asked = rows[reference.complete_example]
        examples = [rows[number] for number in spread(len(rows), MAX_ROWS)]

        def ask(signature: Signature) -> Predict:
            direct = wrap_estimator(served, signature)
            return AgreeingModels(serve(signature), direct, asked, examples)

        candidate = verified_candidate(
            reference,
            serve,
            inferred,
            rows,
            known_categories(estimator),
            ask=ask,
            tolerance=SINGLE_TOLERANCE,
        )
    except NotPackaged as error:
        raise NotPackaged(f"the converted model is not the estimator: {error} {_INSTEAD}") from None
    while row := _disagreement(candidate, wrap_estimator(served, candidate.signature), estimator):
        nulls = [number for number, cell in enumerate(row) if cell is None]
        if not nulls:
            raise _difference(candidate, wrap_estimator(served, candidate.signature), row)
        candidate = _without_null(serve, candidate, nulls)
    return candidate


def _disagreement(candidate: Candidate, direct: Predict, estimator: Any) -> list[Cell] | None:
    """A row for which the converted model and the estimator predict otherwise, or None."""
    for batch in (candidate.rows, generated_rows(candidate.signature, candidate.rows, estimator)):
        try:
            check_equal(candidate.predict, direct, batch)
        except Disagreement as error:
            return list(batch[error.number])
        except Exception as error:  # any exception of the model
            raise NotPackaged(
                f"the converted model fails on a row that the estimator accepts ({reason(error)}). "
                f"{_INSTEAD}"
            ) from error
    return None


def _difference(candidate: Candidate, estimator: Predict, row: Any) -> NotPackaged:
    formatter = PredictionFormatter(candidate.signature)
    (expected,) = formatter(estimator([row]))
    (found,) = formatter(candidate.predict([row]))
    cells = dict(zip(candidate.signature.columns, row, strict=True))
    return NotPackaged(
        f"the converted model predicts otherwise than the estimator for {one_line(str(cells))}: "
        f"{describe_difference(expected, found)}. {_INSTEAD}"
    )


def _proved(
    data: bytes,
    serve: Serve,
    estimator: Any,
    candidate: Candidate,
    progress: Callable[[str], None],
) -> Candidate:
    """The candidate, after a proof that trees predict the same for every input, if there is one.

    Raises NotPackaged if the proof finds an input for which they do not.
    """
    trees = [part.tree_ for part in parts(estimator) if hasattr(part, "tree_")]
    nodes = sum(tree.node_count for tree in trees)
    if not trees or nodes > _MAX_NODES or candidate.signature.layout != "array":
        return candidate
    if not find_spec("leafparity"):
        return candidate
    leafparity = import_module("leafparity")
    inputs = candidate.signature.inputs
    nullable = any(column.nullable for column in inputs)
    for missing in [True, False] if nullable else [False]:
        try:
            result = leafparity.analyze(
                estimator, data, allow_missing=missing, worst_case_seconds=_SECONDS
            )
        except Exception as error:  # what it cannot analyze
            progress(f"no proof for every input: {one_line(reason(error), most=200)}")
            return candidate
        if result.verdict["status"] == "EQUIVALENT":
            if nullable and not missing:
                progress("null: the converted trees answer otherwise, so no column may be null")
                return _without_null(serve, candidate, range(len(inputs)))
            progress("proved for every input: the converted trees predict what the estimator does")
            return candidate
        headline = result.verdict["headline"]
    raise NotPackaged(f"the converted model predicts otherwise: {headline} {_INSTEAD}")


def _without_null(serve: Serve, candidate: Candidate, positions: Iterable[int]) -> Candidate:
    """The candidate where the columns in some positions may not be null."""
    inputs = list(candidate.signature.inputs)
    for position in positions:
        if any(row[position] is None for row in candidate.rows):
            raise NotPackaged(
                f"the converted model predicts otherwise than the estimator where "
                f"{inputs[position].name} is null, as it is in some examples. {_INSTEAD}"
            )
        inputs[position] = inputs[position].model_copy(update={"nullable": False})
    signature = candidate.signature.model_copy(update={"inputs": inputs})
    return replace(candidate, predict=serve(signature), signature=signature)


def _times(candidate: Candidate, estimator: Any) -> str:
    """A line that compares the time of one row and of a batch in both runtimes."""
    direct = wrap_estimator(deepcopy(estimator), candidate.signature)
    direct.use_fast_path(candidate.rows)
    one = list(candidate.rows[:1])
    many = list(islice(cycle(candidate.rows), _BATCH))
    times = [
        [milliseconds(predict, batch) for batch in (one, many)]
        for predict in (candidate.predict, direct)
    ]
    (new_one, new_many), (old_one, old_many) = times
    line = (
        f"one row takes {new_one:.3f} ms, {_BATCH} rows {new_many:.2f} ms; with the runtime "
        f"scikit-learn {old_one:.3f} and {old_many:.2f} ms"
    )
    if new_many > old_many and new_one > old_one:
        line += ": that is the quicker one for this model"
    return line
