"""The signature of a model: the columns it takes and the kind of answer it gives."""

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

Label = StrictBool | StrictInt | StrictStr
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]

FLOAT32_MAX = 3.4028234663852886e38
"""Largest finite float32: scikit-learn's trees compute in float32 and fail on more."""


class Record(BaseModel):
    """A part of the manifest: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Column(Record):
    """One input column.

    minimum and maximum are what was observed when the model was packaged: shown to readers of the
    schema, and enforced only where `enforce` is true.
    """

    name: Name
    dtype: Literal["float64"] = "float64"
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    enforce: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest number that is accepted."""
        low = self.minimum if self.enforce else None
        high = self.maximum if self.enforce else None
        return -FLOAT32_MAX if low is None else low, FLOAT32_MAX if high is None else high


class Signature(Record):
    """What goes in and what comes out.

    inputs: the columns, in the order in which the estimator takes them.
    classes: the labels of a classifier, in the order of its probabilities; None for a regressor.
    outputs: names of the values of a regressor that predicts several; None for a single value.
    """

    layout: Literal["array"]
    inputs: Annotated[list[Column], Field(min_length=1, max_length=10_000)]
    task: Literal["classification", "regression"]
    classes: Annotated[list[Label], Field(min_length=1)] | None = None
    probabilities: bool = False
    outputs: Annotated[list[Name], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("two inputs have the same name")
        if len(set(self.outputs or ())) != len(self.outputs or ()):
            raise ValueError("two outputs have the same name")
        names = {
            label if isinstance(label, str) else json.dumps(label) for label in self.classes or ()
        }
        if len(names) != len(self.classes or ()):
            raise ValueError("two classes have the same name")
        if (self.task == "classification") != (self.classes is not None):
            raise ValueError("classes go with task classification, and only with it")
        if self.task != "classification" and self.probabilities:
            raise ValueError("probabilities go with task classification only")
        if self.task != "regression" and self.outputs is not None:
            raise ValueError("outputs go with task regression only")
        return self

    @property
    def columns(self) -> list[str]:
        """Names of the inputs, in signature order."""
        return [column.name for column in self.inputs]
