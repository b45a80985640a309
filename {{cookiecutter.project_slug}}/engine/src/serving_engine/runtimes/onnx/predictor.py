"""Runs an ONNX model: from its bytes to a predictor."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model_files.load_errors import InvalidArtifact, SignatureMismatch
from ...schema.predictions import Outputs
from ...schema.request_parser import Values
from ...schema.signature import Cell, CellRows, Column, Signature
from ...text import reason

# ONNX Runtime 1.32 starts a thread at its import that sends what it is used for to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
"""The types of inputs and outputs that are supported."""

_NUMBERS = (np.float32, np.float64)
_FATAL = 4
NULL_TEXT = "null_text"
"""The key of a model's metadata whose value stands for null in columns of texts: ONNX has none."""
MATRIX = 2
"""The rank of an input that takes all columns."""


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """A session of one thread, which forked processes may use. Raises InvalidArtifact."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL  # what fails is raised as an exception
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # there is no list of what it raises
        raise InvalidArtifact(f"ONNX Runtime cannot load the artifact ({reason(error)})") from error


class UnexpectedOutput(Exception):
    """The model returned something that is no prediction of its task."""


class OnnxPredictor:
    """A `Predictor` that runs a session as its signature says."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        """Raises SignatureMismatch if the inputs or outputs do not fit the signature."""
        self._session = session
        self._signature = signature
        self._build_feed = feed_builder(session, signature)
        self._names = label, scores = output_names(session)
        self._wanted = [name for name in self._names if name is not None]
        needs_scores = signature.probabilities or signature.task in _WITH_SCORES
        if scores is None and (needs_scores or label is None):
            raise SignatureMismatch("output mismatch: the model has no output of numbers")
        if label is None and signature.task in _WITH_LABELS:
            raise SignatureMismatch("output mismatch: the model has no output of labels")
        self._classes = {label: number for number, label in enumerate(signature.classes or ())}

    @property
    def bounded(self) -> bool:
        """Whether no input makes a call slow: only the length of texts does."""
        return self._signature.layout != "text"

    def use_fast_path(self, rows: CellRows) -> None:
        """Nothing: there is one path."""

    def __call__(self, rows: Values) -> Outputs:
        """Predict n rows. Raises any exception of ONNX Runtime, and UnexpectedOutput."""
        found = self._session.run(self._wanted, self._build_feed(rows))
        outputs = iter(found)
        labels, numbers = (None if name is None else next(outputs) for name in self._names)
        count = len(rows)
        match self._signature.task:
            case "classification":
                return self._classify(labels, numbers, count)
            case "regression":
                width = len(self._signature.outputs or ())
                shape = (count, width) if width else (count,)
                return Outputs(_reshaped(numbers, shape))
            case "clustering":
                return Outputs(_reshaped(labels, (count,)).astype(np.int64))
            case "outlier-detection":
                outliers = _reshaped(labels, (count,)).astype(np.float64) == -1
                return Outputs(outliers, scores=_reshaped(numbers, (count,)))
            case task:
                raise UnexpectedOutput(f"{task} is unsupported")

    def _classify(self, labels: Any, numbers: Any, count: int) -> Outputs:
        probabilities = None
        if self._signature.probabilities:
            probabilities = _reshaped(numbers, (count, len(self._classes)))
        if labels is None:
            if probabilities is None:
                raise UnexpectedOutput("the model returns neither labels nor probabilities")
            return Outputs(probabilities.argmax(axis=1), probabilities)
        try:
            found = [self._classes[label] for label in np.asarray(labels).ravel().tolist()]
        except KeyError:
            raise UnexpectedOutput("the model predicted a label that is none of its classes") from (
                None
            )
        indices = np.array(found, dtype=np.int64)
        if len(indices) != count:
            raise UnexpectedOutput(f"the model returned {len(indices)} labels for {count} rows")
        return Outputs(indices, probabilities)


_WITH_SCORES = {"regression", "outlier-detection"}
_WITH_LABELS = {"clustering", "outlier-detection"}


def output_names(session: onnxruntime.InferenceSession) -> tuple[str | None, str | None]:
    """The names of the output with labels and of the one with numbers; None where there is none.

    Labels are strings or integers. The first output of each kind counts.
    """
    labels = numbers = None
    for output in session.get_outputs():
        dtype = DTYPES.get(output.type)
        if dtype in _NUMBERS:
            numbers = numbers or output.name
        elif dtype is not None:
            labels = labels or output.name
    return labels, numbers


def feed_builder(
    session: onnxruntime.InferenceSession, signature: Signature
) -> Callable[[Values], dict[str, NDArray[Any]]]:
    """A function from n rows, each in signature order, to the inputs of a session.

    The inputs are one matrix (n, columns), or one array (n, 1) or (n,) for each column, with its
    name. Null is NaN for numbers, and a text that means null for texts. Raises SignatureMismatch.
    """
    inputs = session.get_inputs()
    for each in inputs:
        if each.type not in DTYPES:
            raise SignatureMismatch(f"the model's input {each.name} is a {each.type}")
    columns = signature.inputs
    if len(inputs) == 1 and _takes_matrix(inputs[0], len(columns)):
        (matrix,) = inputs
        dtype = DTYPES[matrix.type]
        if dtype is np.object_:
            return lambda rows: {matrix.name: np.array(rows, dtype=object)}
        return lambda rows: {matrix.name: np.asarray(rows, dtype=dtype)}
    if [each.name for each in inputs] != signature.columns:
        names = ", ".join(each.name for each in inputs)
        raise SignatureMismatch(
            f"column mismatch: the model has the inputs {names[:200]}, and the manifest others"
        )
    null_text = session.get_modelmeta().custom_metadata_map.get(NULL_TEXT, "")
    builders = [
        (each.name, _array_builder(column, DTYPES[each.type], len(each.shape), null_text))
        for each, column in zip(inputs, columns, strict=True)
    ]

    def feed(rows: Values) -> dict[str, NDArray[Any]]:
        cells = zip(*rows, strict=True)
        return {name: build(values) for (name, build), values in zip(builders, cells, strict=True)}

    return feed


def _takes_matrix(single: Any, width: int) -> bool:
    """Whether an input takes all columns. Those of a model with one column are either."""
    shape = single.shape
    return len(shape) == MATRIX and (shape[1] == width or not isinstance(shape[1], int))


def _array_builder(
    column: Column, dtype: Any, rank: int, null_text: str
) -> Callable[[Sequence[Cell]], NDArray[Any]]:
    shape = (-1, 1) if rank == MATRIX else (-1,)
    if dtype is np.object_:
        if column.dtype != "string":
            raise SignatureMismatch(f"column mismatch: the model takes texts in {column.name}")
        return lambda cells: np.array(
            [null_text if cell is None else cell for cell in cells], dtype=object
        ).reshape(shape)
    if column.dtype in {"string", "datetime"}:
        raise SignatureMismatch(f"column mismatch: the model takes numbers in {column.name}")
    if dtype in _NUMBERS:
        return lambda cells: np.array(cells, dtype=np.float64).astype(dtype).reshape(shape)

    def whole(cells: Sequence[Cell]) -> NDArray[Any]:
        if None in cells:
            raise ValueError(f"{column.name} is null, which an ONNX {dtype.__name__} cannot be")
        return np.array(cells, dtype=dtype).reshape(shape)

    return whole


def _reshaped(array: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A copy as float64, or of integers, in this shape: an axis of length 1 may be left out."""
    found = np.asarray(array)
    if found.size != np.prod(shape) or len(found) != shape[0]:
        raise UnexpectedOutput(f"the model returned the shape {found.shape}, and not {shape}")
    return found.astype(np.float64).reshape(shape)
