"""Builds a model of the runtime `onnx`: takes an .onnx file as it is, or converts an estimator."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..model_files.load_errors import LoadError
from ..model_files.manifest import ArtifactRecord
from ..runtimes.onnx.model_check import check_model
from ..runtimes.onnx.predictor import (
    DTYPES,
    MATRIX,
    OnnxPredictor,
    feed_builder,
    open_session,
    output_names,
)
from ..schema.predictions import Prediction
from ..schema.signature import CellRows, Column, Layout, Signature
from ..text import reason
from .builder import BuildOptions, Built
from .candidate import (
    SINGLE_TOLERANCE,
    Candidate,
    convert_rows,
    example_prediction,
    verified_candidate,
)
from .dependency_advice import installed_releases
from .errors import NotPackaged
from .example_table import read_example_table
from .infer_columns import columns_of_layout, infer_columns, usual_layout
from .probes import MAX_ROWS

ARTIFACT = "model.onnx"
SUFFIX = ".onnx"
_SUM_TOLERANCE = 1e-3


def build(options: BuildOptions) -> Built:
    """Take or make an ONNX model. Raises UsageError or LoadError."""
    if len(options.files) != 1:
        raise NotPackaged("a model of ONNX is one file.")
    (file,) = options.files
    options.progress(f"reading {file}")
    take = _as_it_is if file.suffix.lower() == SUFFIX else _converted
    data, candidate, rows = take(file, options)
    artifact = ArtifactRecord(
        file=ARTIFACT, format="onnx", size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    built_with = installed_releases(["numpy", "onnxruntime"])
    return Built(candidate, rows, artifact, {ARTIFACT: data}, built_with)


def _converted(file: Path, options: BuildOptions) -> tuple[bytes, Candidate, Any]:
    # What converts needs an extra; an .onnx file does not.
    from .convert_to_onnx import convert  # noqa: PLC0415
    from .known_texts import known_texts  # noqa: PLC0415
    from .read_estimator import read_estimator  # noqa: PLC0415

    estimator = read_estimator(file, options.trust)
    table, names = read_example_table(options, estimator, partial(known_texts, estimator))
    columns = infer_columns(table, names)
    options.progress("converting the model to ONNX, and comparing its predictions")
    data, candidate = convert(estimator, table, columns, options.outputs, options.progress)
    return data, candidate, table.rows


def _as_it_is(file: Path, options: BuildOptions) -> tuple[bytes, Candidate, Any]:
    try:
        data = file.read_bytes()
        check_model(data)
        session = open_session(data)
    except OSError as error:
        raise NotPackaged(f"cannot read {file}: {error.strerror}.") from None
    except LoadError as error:
        raise NotPackaged(f"{file}: {error}") from None
    table, names = read_example_table(options)
    columns = _columns(session, infer_columns(table, names))
    layout = _layout(session, columns)
    rows = convert_rows(table.rows, columns, layout)
    signature = _signature(session, layout, columns, rows, options)
    reference = _Reference(session, rows)
    try:
        candidate = verified_candidate(
            reference, partial(OnnxPredictor, session), signature, rows, tolerance=SINGLE_TOLERANCE
        )
    except LoadError as error:
        raise NotPackaged(f"{file}: {error.problem}.") from None
    return data, candidate, table.rows


class _Reference:
    """The session itself: nothing else knows what the model should predict."""

    def __init__(self, session: Any, rows: CellRows) -> None:
        self._session = session
        self._rows = rows
        self.complete_example = next((n for n, row in enumerate(rows) if None not in row), 0)

    def predict(self, number: int, signature: Signature) -> Prediction:
        try:
            outputs = OnnxPredictor(self._session, signature)([self._rows[number]])
        except Exception as error:  # any exception of ONNX Runtime
            raise NotPackaged(
                f"the model fails on example row {number} ({reason(error)}). Give rows like those "
                "that it was made for, with its columns in its order: --columns A,B."
            ) from error
        return example_prediction(outputs, number, signature)


def _columns(session: Any, columns: Sequence[Column]) -> list[Column]:
    """The columns with the types of a model that has one input for each."""
    inputs = {each.name: DTYPES.get(each.type) for each in session.get_inputs()}
    if inputs.keys() != {column.name for column in columns}:
        return list(columns)
    by_name = {column.name: column for column in columns}
    typed = []
    for name, dtype in inputs.items():
        column = by_name[name]
        if column.dtype == "int64" and dtype in {np.float32, np.float64}:
            column = column.model_copy(update={"dtype": "float64"})
        elif column.dtype == "float64" and dtype in {np.int64, np.int32}:
            column = column.model_copy(update={"dtype": "int64"})
        typed.append(column)
    return typed


def _layout(session: Any, columns: Sequence[Column]) -> Layout:
    """The usual one; columns of numbers are named if the model has an input for each."""
    inputs = session.get_inputs()
    layout = usual_layout(columns)
    single = len(inputs) == 1 and len(inputs[0].shape) == MATRIX
    return "frame" if layout == "array" and not single else layout


def _signature(
    session: Any, layout: Layout, columns: Sequence[Column], rows: CellRows, options: BuildOptions
) -> Signature:
    """The signature that the outputs of the model mean. Raises NotPackaged."""
    inputs = columns_of_layout(columns, layout)
    label, scores = output_names(session)
    if label is None and scores is None:
        raise NotPackaged(
            "the model has no output of numbers or labels. Of a converted classifier, leave the "
            "probabilities an array: zipmap=False."
        )
    try:
        columns_alone = Signature(layout=layout, inputs=inputs, task="regression")
        labels, numbers = _run(session, columns_alone, rows)
        if options.classes or labels is not None:
            fields = _classification(labels, numbers, options.classes)
        else:
            fields = _regression(numbers, options.outputs)
        return Signature(layout=layout, inputs=inputs, **fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NotPackaged(f"the model cannot be served: {problem['msg']}.") from None


def _run(session: Any, signature: Signature, rows: CellRows) -> tuple[Any, Any]:
    """The labels and the numbers that the model returns for complete examples, None without any."""
    complete = [row for row in rows if None not in row][:MAX_ROWS] or rows[:1]
    names = output_names(session)
    try:
        feed = feed_builder(session, signature)(complete)
        found = session.run(list(filter(None, names)), feed)
    except LoadError as error:
        raise NotPackaged(
            f"{error.problem}. Choose its columns, in its order: --columns A,B."
        ) from None
    except Exception as error:  # any exception of ONNX Runtime
        raise NotPackaged(
            f"the model fails on the examples ({reason(error)}). Give rows like those that it was "
            "made for, with its columns in its order: --columns A,B."
        ) from error
    outputs = iter(found)
    labels, numbers = (None if name is None else np.asarray(next(outputs)) for name in names)
    return labels, numbers


def _classification(labels: Any, numbers: Any, names: Sequence[str] | None) -> dict[str, Any]:
    if not names:
        raise NotPackaged(
            "the model has labels, and a file of ONNX does not say which there are. Name them in "
            "the order of its probabilities: --classes A,B."
        )
    classes: list[Any] = list(names)
    if labels is not None and labels.dtype.kind in "iu":
        if not all(name.lstrip("-").isdigit() for name in names):
            raise NotPackaged("the model's labels are integers: name them so, --classes 0,1.")
        classes = [int(name) for name in names]
    probable = numbers is not None and _are_probabilities(numbers, len(classes))
    if labels is None and not probable:
        raise NotPackaged(
            f"the model's output is no probability for each of {len(classes)} classes. If it is "
            "what comes before a Softmax, add that to the model before you export it."
        )
    if labels is not None and not set(labels.ravel().tolist()) <= set(classes):
        raise NotPackaged("the model predicts a label that is none of those of --classes.")
    if labels is not None and probable:
        expected = [classes[index] for index in numbers.argmax(axis=1)]
        if expected != labels.ravel().tolist():
            raise NotPackaged(
                "the label of the highest probability is not the one that the model predicts. Name "
                "the labels in the order of the probabilities: --classes A,B."
            )
    return {"task": "classification", "classes": classes, "probabilities": probable}


def _are_probabilities(numbers: Any, count: int) -> bool:
    if numbers.ndim != MATRIX or numbers.shape[1] != count:
        return False
    return bool((numbers >= 0).all() and np.allclose(numbers.sum(axis=1), 1, atol=_SUM_TOLERANCE))


def _regression(numbers: Any, names: Sequence[str] | None) -> dict[str, Any]:
    width = numbers.shape[1] if numbers.ndim > 1 else 1
    if numbers.ndim > MATRIX:
        raise NotPackaged(f"the model's output has the shape {numbers.shape}: one row per example.")
    if width == 1:
        return {"task": "regression"}
    outputs = list(names or [f"output_{number}" for number in range(width)])
    if len(outputs) != width:
        raise NotPackaged(f"the model has {width} outputs, and {len(outputs)} were named.")
    return {"task": "regression", "outputs": outputs}
