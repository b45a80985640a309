"""The signature of a model: the columns that it takes and the predictions that it makes."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

Label = StrictBool | StrictInt | StrictStr
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
DType = Literal["float64", "int64", "bool", "string", "datetime"]
Layout = Literal["array", "frame", "text"]
Cell = float | int | bool | str | None
"""One value of a row; None only if its column is nullable."""
CellRows = Sequence[Sequence[Cell]]
"""n rows, each in signature order."""

FLOAT32_MAX = 3.4028234663852886e38
"""Largest finite float32: scikit-learn's trees compute in float32 and fail on larger numbers."""
INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

YEARS = range(1678, 2262)
"""The years that datetime64[ns] holds as a whole."""


class Record(BaseModel):
    """A part of the manifest. Unknown keys and values of another type are invalid."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Column(Record):
    """One input column.

    minimum and maximum, or categories, were observed when the model was packaged. The OpenAPI
    schema shows them; requests must keep to them only if `enforce` is true.
    categorical: the column is a pandas Categorical, whose categories training has fixed.
    words: values of a string column that mean a missing value in other tables, such as "NA".
    unit, timezone: of a datetime column, as in pandas; without a timezone, dates and times have no
    offset.
    """

    name: Name
    dtype: DType = "float64"
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: Annotated[list[StrictStr] | list[float], Field(min_length=1)] | None = None
    categorical: bool = False
    enforce: bool = False
    words: list[StrictStr] = []
    unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numeric = self.dtype in {"float64", "int64"}
        if not numeric and (self.minimum is not None or self.maximum is not None):
            raise ValueError("minimum and maximum need a numeric column")
        if self.categories is not None:
            kind = float if numeric else str
            same_kind = all(isinstance(category, kind) for category in self.categories)
            if self.dtype in {"bool", "datetime"} or not same_kind:
                raise ValueError("categories need a column of numbers or strings, and its type")
        if self.categorical and (self.dtype != "string" or self.categories is None):
            raise ValueError("categorical needs a string column with categories")
        if (self.dtype == "datetime") != (self.unit is not None):
            raise ValueError("a datetime column needs a unit, and no other has one")
        if self.timezone is not None and self.dtype != "datetime":
            raise ValueError("timezone needs a datetime column")
        if self.words and self.dtype != "string":
            raise ValueError("words need a string column")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest accepted number; two integers for int64, 0 and 1 for booleans."""
        if self.dtype == "bool":
            return 0, 1
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
        """The accepted values besides null; None if every value of the type is accepted."""
        if self.categories is None or not self.enforce:
            return None
        whole = self.dtype == "int64"
        return [int(c) if whole and isinstance(c, float) else c for c in self.categories]


class Signature(Record):
    """The inputs and outputs of a model.

    layout: `array`, one float array, in which true is 1 and false is 0; `frame`, named columns of
    mixed types as a pandas DataFrame; `text`, one column of strings.
    inputs: the columns, in the order in which the estimator takes them.
    classes: the labels of a classifier, in the order of its probabilities; for a multilabel
    classifier, the label of each of its indicators.
    outputs: names of the values of a regressor that predicts several, or of the labels of a
    multi-output classifier. output_classes: the classes of each output of the latter.
    """

    layout: Layout
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
        if self.layout == "array" and not dtypes <= {"float64", "bool"}:
            raise ValueError("layout array needs columns of floats or booleans only")
        if self.layout == "text" and (dtypes != {"string"} or len(self.inputs) != 1):
            raise ValueError("layout text needs exactly one column, of strings")

    def _check_task(self) -> None:
        task = self.task
        has_classes = task in {"classification", "multilabel"}
        if has_classes != (self.classes is not None):
            raise ValueError("classification and multilabel need classes, other tasks have none")
        if self.probabilities and not has_classes:
            raise ValueError("probabilities need the task classification or multilabel")
        multi = task == "multi-output-classification"
        if self.outputs is None:
            if multi:
                raise ValueError("multi-output-classification needs outputs")
        elif not multi and (task != "regression" or len(self.outputs) == 1):
            raise ValueError("outputs need a task with several outputs")
        if multi != (self.output_classes is not None) or (
            multi and len(self.output_classes or ()) != len(self.outputs or ())
        ):
            raise ValueError(
                "multi-output-classification needs output_classes, one list per output; "
                "other tasks have none"
            )

    @property
    def columns(self) -> list[str]:
        """Names of the inputs, in signature order."""
        return [column.name for column in self.inputs]


def datetime_pattern(column: "Column") -> str:
    """A regular expression for the values of a datetime column: ISO 8601, with an offset if it has
    a timezone. The date alone is enough if it has none."""
    date = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    time = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    if column.timezone is None:
        return f"{date}({time})?"
    return date + time + "(Z|[+-][0-9]{2}:[0-9]{2})"


def class_name(label: Label) -> str:
    """A label as a JSON member name: a string unchanged, any other label as its JSON text."""
    return label if isinstance(label, str) else json.dumps(label)


def class_names(labels: Sequence[Label] | None) -> list[str]:
    """The labels as JSON member names."""
    return [class_name(label) for label in labels or ()]
