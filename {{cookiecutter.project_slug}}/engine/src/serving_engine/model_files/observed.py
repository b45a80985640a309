"""The part of the manifest that holds how values were distributed when the model was packaged."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, StrictStr, model_validator

from ..schema.signature import Name, Record, Signature, class_name

if TYPE_CHECKING:  # it needs NumPy, which a supervisor does not import
    from ..schema.predictions import Prediction

Share = Annotated[float, Field(ge=0, le=1)]


class Distribution(Record):
    """How the values of a column, or of a prediction, were distributed.

    nulls: the share of the rows without a value. edges: the upper edges of all intervals but the
    last, ascending. categories: the values, if it has no intervals; labels that are no texts as
    JSON. shares: of each interval or category, among the rows with a value.
    """

    nulls: Share = 0.0
    edges: Annotated[list[float], Field(max_length=20)] | None = None
    categories: Annotated[list[StrictStr], Field(max_length=10_000)] | None = None
    shares: list[Share]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.edges is None) == (self.categories is None):
            raise ValueError("a distribution needs edges or categories")
        edges = self.edges or []
        if len(self.shares) != len(edges if self.categories is None else self.categories) + (
            self.categories is None
        ):
            raise ValueError("a distribution needs a share for each interval or category")
        if edges != sorted(set(edges)):
            raise ValueError("edges must ascend")
        return self


class Observed(Record):
    """What was observed in the example rows, for `model drift`.

    columns: by name; without texts that have no categories, and dates. predictions: by the names
    of `prediction_values`.
    """

    rows: Annotated[int, Field(gt=0)]
    columns: dict[Name, Distribution] = {}
    predictions: dict[Name, Distribution] = {}


def prediction_values(prediction: "Prediction", signature: Signature) -> dict[str, str | float]:
    """The values of one prediction that have a distribution: texts have categories, numbers
    intervals."""
    if isinstance(prediction, list):
        names = signature.outputs or []
        return {f"values.{name}": one for name, one in zip(names, prediction, strict=True)}
    if not isinstance(prediction, dict):
        return {"value": prediction}
    if "labels" in prediction:
        return {f"labels.{name}": text for name, text in _labels(prediction["labels"], signature)}
    values = {name: one if name == "score" else class_name(one) for name, one in prediction.items()}
    probabilities: Any = values.pop("probabilities", None)
    if probabilities is not None:
        values["probability"] = prediction["probabilities"][values["label"]]
    return values


def _labels(labels: Any, signature: Signature) -> Iterator[tuple[str, str]]:
    """The labels of several outputs; of a multilabel classifier, whether the row has each label."""
    if isinstance(labels, dict):
        for name, label in labels.items():
            yield name, class_name(label)
    else:
        for label in signature.classes or []:
            yield class_name(label), class_name(label in labels)


def interval_counts(edges: Sequence[float], values: Sequence[float]) -> list[int]:
    """How many values are in each interval."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_left(edges, value)] += 1
    return counts
