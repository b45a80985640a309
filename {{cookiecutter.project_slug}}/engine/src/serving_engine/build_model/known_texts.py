"""Which columns an estimator knows as texts, and which texts: the categories of its encoders.

A table of text does not say whether `60` is a number, or `NA` a missing value: the encoder that was
fitted on the column does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from ..text import is_missing

KnownTexts = Mapping[str, frozenset[str]]
"""The texts that the model knows, by column."""

_INNER = ("best_estimator_", "estimator_", "regressor_", "_preprocessor")
_KEEP_COLUMNS = {"SimpleImputer", "FrozenEstimator"}
"""Steps whose outputs are the columns that they are given."""


def known_texts(estimator: Any, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """The columns whose categories are texts. names: of the columns that the estimator takes."""
    found: dict[str, frozenset[str]] = {}
    for name, categories in _encoded(estimator, list(names)):
        texts = {value for value in categories if isinstance(value, str)}
        others = [value for value in categories if not isinstance(value, str)]
        if texts and all(map(is_missing, others)):
            found[name] = found.get(name, frozenset()) | texts
    return found


def _encoded(step: Any, names: list[str]) -> Iterator[tuple[str, Sequence[Any]]]:
    """The name and the categories of each column that a step encodes first."""
    if isinstance(step, Pipeline):
        for _, inner in step.steps:
            yield from _encoded(inner, names)
            if inner not in {None, "passthrough"} and type(inner).__name__ not in _KEEP_COLUMNS:
                return
    elif isinstance(step, ColumnTransformer):
        for _, inner, columns in step.transformers_:
            yield from _encoded(inner, _chosen(columns, names))
    else:
        categories = getattr(step, "categories_", None)
        if categories is not None and len(categories) == len(names):
            yield from zip(names, map(_as_list, categories), strict=True)
        for inner in _inner_steps(step):
            yield from _encoded(inner, names)


def _inner_steps(step: Any) -> Iterator[Any]:
    """The estimators in a step that take the same columns as the step."""
    if isinstance(step, FeatureUnion):
        yield from (inner for _, inner in step.transformer_list)
    for attribute in _INNER:
        inner = getattr(step, attribute, None)
        if inner is not None:
            yield inner
    several = getattr(step, "estimators_", None)
    if isinstance(several, list):
        yield from several


def _chosen(columns: Any, names: list[str]) -> list[str]:
    """The names of a ColumnTransformer's columns: names, positions, a slice or a mask."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return names[columns]
    chosen = _as_list(columns)
    if any(isinstance(column, bool) for column in chosen):
        return [name for name, use in zip(names, chosen, strict=False) if use]
    return [
        names[column] if isinstance(column, int) and column < len(names) else str(column)
        for column in (chosen if isinstance(chosen, list) else [chosen])
    ]


def _as_list(values: Any) -> Any:
    return getattr(values, "tolist", lambda: list(values))()
