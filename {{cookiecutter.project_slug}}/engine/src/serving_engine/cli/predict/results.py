"""The formats of a result: JSON Lines, CSV and Parquet, with one row for each row of the input.

While it grows, a result is bytes to which the predictions of each block are appended; `finish`
makes the file of it. Parquet has its index at the end, so it grows as a stream of Arrow.
"""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ...build_model.row_files import import_pyarrow
from ...errors import UsageError
from ...schema.predictions import Outputs, PredictionFormatter
from ...schema.signature import Label, Signature, class_names

_GROUP_BYTES = 64 * 2**20
"""Size of a row group of a Parquet file, in memory."""


class ResultFormat(ABC):
    """How predictions are written."""

    def head(self) -> bytes:
        """What comes before the first prediction."""
        return b""

    @abstractmethod
    def rows(self, outputs: Outputs | None, numbers: Sequence[int], count: int) -> bytes:
        """The predictions for `count` rows.

        numbers: of the rows, from 0, that `outputs` is for, in this order. The others are empty.
        """

    def finish(self, grown: Path) -> Path:
        """The complete file, from that to which everything was appended."""
        return grown


def result_format(path: Path | None, signature: Signature) -> ResultFormat:
    """The format of a result by its suffix; JSON Lines for standard output. Raises UsageError."""
    formats: dict[str, Callable[[Signature], ResultFormat]] = {
        ".jsonl": JsonLines,
        ".csv": Csv,
        ".parquet": Parquet,
    }
    suffix = ".jsonl" if path is None else path.suffix.lower()
    if suffix not in formats:
        raise UsageError(f"{path} has an unsupported suffix. Use .csv, .jsonl or .parquet.")
    return formats[suffix](signature)


class JsonLines(ResultFormat):
    """Each line is a prediction as `POST /predict` answers it."""

    def __init__(self, signature: Signature) -> None:
        self._predictions = PredictionFormatter(signature)

    def rows(self, outputs: Outputs | None, numbers: Sequence[int], count: int) -> bytes:
        found = self._predictions(outputs) if outputs is not None else []
        return b"".join(
            orjson.dumps(prediction, option=orjson.OPT_APPEND_NEWLINE)
            for prediction in _spread(found, numbers, count)
        )


class Csv(ResultFormat):
    """A column for each value of a prediction."""

    def __init__(self, signature: Signature) -> None:
        self._columns = result_columns(signature)

    def head(self) -> bytes:
        return (",".join(_field(column.name) for column in self._columns) + "\n").encode()

    def rows(self, outputs: Outputs | None, numbers: Sequence[int], count: int) -> bytes:
        empty = '""' if len(self._columns) == 1 else ""  # a reader would skip an empty line
        columns = [
            _spread(_fields(column.values(outputs)), numbers, count, empty)
            for column in self._columns
        ]
        lines = map(",".join, zip(*columns, strict=True))
        return "\n".join(chain(lines, [""])).encode()


def _fields(values: Any) -> list[str]:
    """The fields of a column. orjson writes numbers ten times faster than Python does."""
    if len(values) and values.dtype.kind == "f":
        numbers = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        return numbers[1:-1].decode().split(",")
    cells = list(values)
    fields = {cell: _field(cell) for cell in set(cells)}
    return [fields[cell] for cell in cells]


def _field(value: object) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="").writerow([value])
    return text.getvalue()


class Parquet(ResultFormat):
    """The columns of CSV, with their types."""

    def __init__(self, signature: Signature) -> None:
        self._arrow = import_pyarrow()
        self._columns = result_columns(signature)

    @cached_property
    def _schema(self) -> Any:
        return self._arrow.schema(
            [(column.name, self._arrow.type_for_alias(column.type)) for column in self._columns]
        )

    def head(self) -> bytes:
        data: bytes = self._schema.serialize().to_pybytes()
        return data

    def rows(self, outputs: Outputs | None, numbers: Sequence[int], count: int) -> bytes:
        arrays = [
            self._arrow.array(_spread(column.values(outputs), numbers, count), schema.type)
            for column, schema in zip(self._columns, self._schema, strict=True)
        ]
        batch = self._arrow.record_batch(arrays, schema=self._schema)
        data: bytes = batch.serialize().to_pybytes()
        return data

    def finish(self, grown: Path) -> Path:
        path = grown.with_name(f"{grown.name}.parquet")
        with (
            grown.open("rb") as file,
            self._arrow.ipc.open_stream(file) as stream,
            self._arrow.parquet.ParquetWriter(path, self._schema) as writer,
        ):
            batches: list[Any] = []
            for batch in stream:
                batches.append(batch)
                if sum(each.nbytes for each in batches) > _GROUP_BYTES:
                    writer.write_table(self._arrow.Table.from_batches(batches))
                    batches.clear()
            if batches:
                writer.write_table(self._arrow.Table.from_batches(batches))
        return path


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result.

    type: its name in Arrow. extract: the values of all rows.
    """

    name: str
    type: str
    extract: Callable[[Outputs], Any]

    def values(self, outputs: Outputs | None) -> Any:
        """The values of all rows; none without outputs."""
        return [] if outputs is None else self.extract(outputs)


def result_columns(signature: Signature) -> list[ResultColumn]:
    """The columns of a result, named as `pandas.json_normalize` names those of the predictions."""
    classes = class_names(signature.classes)
    outputs = signature.outputs or []
    match signature.task:
        case "classification":
            columns = [_labels("label", signature.classes or [], lambda each: each.values)]
        case "multilabel":
            columns = _numbers("labels", classes, lambda each: each.values, "bool")
        case "multi-output-classification":
            known = zip(outputs, signature.output_classes or [], strict=True)
            columns = [
                _labels(f"labels.{name}", labels, _column_of(lambda each: each.values, index))
                for index, (name, labels) in enumerate(known)
            ]
        case "regression" if outputs:
            columns = _numbers("values", outputs, lambda each: each.values)
        case "regression":
            columns = [ResultColumn("value", "float64", lambda each: each.values)]
        case "clustering":
            columns = [ResultColumn("cluster", "int64", lambda each: each.values)]
        case "outlier-detection":
            columns = [
                ResultColumn("outlier", "bool", lambda each: each.values),
                ResultColumn("score", "float64", lambda each: each.scores),
            ]
    if signature.probabilities:
        columns += _numbers("probabilities", classes, lambda each: each.probabilities)
    return columns


def _numbers(
    prefix: str, names: Sequence[str], matrix: Callable[[Outputs], Any], kind: str = "float64"
) -> list[ResultColumn]:
    return [
        ResultColumn(f"{prefix}.{name}", kind, _column_of(matrix, index))
        for index, name in enumerate(names)
    ]


def _column_of(matrix: Callable[[Outputs], Any], index: int) -> Callable[[Outputs], Any]:
    return lambda outputs: matrix(outputs)[:, index]


def _labels(name: str, labels: Sequence[Label], indices: Callable[[Outputs], Any]) -> ResultColumn:
    """A column of labels: as text if their types differ."""
    types = {type(label) for label in labels}
    kind = {bool: "bool", int: "int64"}.get(types.pop(), "string") if len(types) == 1 else "string"
    table = np.array(class_names(labels) if kind == "string" else labels, dtype=object)
    return ResultColumn(name, kind, lambda outputs: table[indices(outputs)])


def _spread(values: Any, numbers: Sequence[int], count: int, empty: str | None = None) -> Any:
    """Values in the places of their rows, and `empty` in those of the others."""
    if len(values) == count:
        return values
    found = values.tolist() if isinstance(values, np.ndarray) else values
    spread: list[Any] = [empty] * count
    for number, value in zip(numbers, found, strict=True):
        spread[number] = value
    return spread
