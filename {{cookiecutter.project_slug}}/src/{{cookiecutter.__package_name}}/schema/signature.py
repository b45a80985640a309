"""The signature of a model: the columns it takes and the kind of answer it gives."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

Label = StrictBool | StrictInt | StrictStr
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Cell = float | int | bool | str | None
"""One value of a row; None only where its column is nullable."""

FLOAT32_MAX = 3.4028234663852886e38
"""Largest finite float32: scikit-learn's trees compute in float32 and fail on more."""
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Record(BaseModel):
    """A part of the manifest: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Column(Record):
    """One input column.

    minimum and maximum, or categories, are what was observed when the model was packaged: shown
    to readers of the schema, and enforced only where `enforce` is true.
    categorical: a string column that pandas holds as categories, which were fixed in training.
    """

    name: Name
    dtype: Literal["float64", "int64", "bool", "string"] = "float64"
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: Annotated[list[StrictStr] | list[float], Field(min_length=1)] | None = None
    categorical: bool = False
    enforce: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numeric = self.dtype in {"float64", "int64"}
        if not numeric and (self.minimum is not None or self.maximum is not None):
            raise ValueError("minimum and maximum go with numbers only")
        kind = float if numeric else str
        if self.categories is not None and not all(isinstance(c, kind) for c in self.categories):
            raise ValueError("categories are of the column's own type, and booleans have none")
        if self.dtype == "bool" and self.categories is not None:
            raise ValueError("categories are of the column's own type, and booleans have none")
        if self.categorical and (self.dtype != "string" or self.categories is None):
            raise ValueError("categorical columns are strings with categories")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest number that is accepted: two integers for int64."""
        low = self.minimum if self.enforce else None
        high = self.maximum if self.enforce else None
        if self.dtype == "int64":
            return (
                INT64_MIN if low is None else max(INT64_MIN, math.ceil(low)),
                INT64_MAX if high is None else min(INT64_MAX, math.floor(high)),
            )
        return -FLOAT32_MAX if low is None else low, FLOAT32_MAX if high is None else high

    @property
    def allowed(self) -> list[Cell] | None:
        """The only values that are accepted besides null; None where any of the type are."""
        if self.categories is None or not self.enforce:
            return None
        whole = self.dtype == "int64"
        return [int(c) if whole and isinstance(c, float) else c for c in self.categories]


class Signature(Record):
    """What goes in and what comes out.

    layout: `array`, one float array; `frame`, named columns of mixed types as a pandas DataFrame;
    `text`, one column of strings.
    inputs: the columns, in the order in which the estimator takes them.
    classes: the labels of a classifier, in the order of its probabilities; of a multilabel
    classifier, what its indicators stand for.
    outputs: names of the values of a regressor that predicts several, or of the labels of a
    multi-output classifier; output_classes: the labels of each of the latter.
    """

    layout: Literal["array", "frame", "text"]
    inputs: Annotated[list[Column], Field(min_length=1, max_length=10_000)]
    task: Literal[
        "classification",
        "multilabel",
        "multi-output-classification",
        "regression",
        "clustering",
        "outlier-detection",
    ]
    classes: Annotated[list[Label], Field(min_length=1)] | None = None
    probabilities: bool = False
    outputs: Annotated[list[Name], Field(min_length=1)] | None = None
    output_classes: list[Annotated[list[Label], Field(min_length=1)]] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("two inputs have the same name")
        if len(set(self.outputs or ())) != len(self.outputs or ()):
            raise ValueError("two outputs have the same name")
        for classes in (self.classes or (), *(self.output_classes or ())):
            if len(set(map(class_name, classes))) != len(classes):
                raise ValueError("two classes have the same name")
        self._check_layout({column.dtype for column in self.inputs})
        self._check_task()
        return self

    def _check_layout(self, dtypes: set[str]) -> None:
        if self.layout == "array" and dtypes != {"float64"}:
            raise ValueError("layout array has columns of float64 only")
        if self.layout == "text" and (dtypes != {"string"} or len(self.inputs) != 1):
            raise ValueError("layout text has one column, of strings")

    def _check_task(self) -> None:
        task = self.task
        has_classes = task in {"classification", "multilabel"}
        if has_classes != (self.classes is not None):
            raise ValueError("classes go with classification and multilabel, and only with them")
        if self.probabilities and not has_classes:
            raise ValueError("probabilities go with classification and multilabel only")
        multi = task == "multi-output-classification"
        if self.outputs is None:
            if multi:
                raise ValueError("multi-output-classification needs outputs")
        elif not multi and (task != "regression" or len(self.outputs) == 1):
            raise ValueError("outputs go with several answers only")
        if multi != (self.output_classes is not None) or (
            multi and len(self.output_classes or ()) != len(self.outputs or ())
        ):
            raise ValueError("output_classes go with multi-output-classification, one per output")

    @property
    def columns(self) -> list[str]:
        """Names of the inputs, in signature order."""
        return [column.name for column in self.inputs]


def class_name(label: Label) -> str:
    """A label as a JSON member name: a string as it is, else its JSON text."""
    return label if isinstance(label, str) else json.dumps(label)


def class_names(labels: Sequence[Label] | None) -> list[str]:
    """The labels as JSON member names."""
    return [class_name(label) for label in labels or ()]
