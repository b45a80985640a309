"""Prepares a fitted estimator for serving: one thread, no output, no names of columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

# The request parser matches names of columns. An estimator with names warns on every call without a
# DataFrame, and with an output config of pandas it would need pandas.
_ATTRIBUTES_OF_NAMES = ("feature_names_in_", "_sklearn_output_config")


def prepare(model: Any, *, names: bool = False) -> None:
    """Modify an estimator, and every estimator in it, for serving.

    names: whether it is called with named columns; otherwise their names are removed.
    `set_params` would change the arguments of the constructor, not the fitted estimators inside.
    """
    for part in parts(model):
        state = vars(part)
        if hasattr(part, "get_params"):
            for name, value in (("n_jobs", 1), ("verbose", 0)):
                if name in state:
                    setattr(part, name, value)
        if type(part).__module__.startswith("xgboost.") and hasattr(part, "set_param"):
            part.set_param({"nthread": 1})  # a booster ignores n_jobs
        if names:
            continue
        if "_fitted_with_feature_names" in state:  # of LightGBM
            part._fitted_with_feature_names = False
        if not type(part).__module__.startswith("sklearn."):
            continue  # a class of transformers.py may use the names
        if isinstance(part, ColumnTransformer) and "feature_names_in_" in state:
            part.transformers_ = _by_position(part)
        for name in _ATTRIBUTES_OF_NAMES:
            state.pop(name, None)


def parts(model: Any) -> Iterator[Any]:
    """Every object with attributes in a model, also in containers and arrays, once each."""
    pending = [model]
    visited: dict[int, object] = {}
    while pending:
        item = pending.pop()
        if id(item) in visited or isinstance(item, type):
            continue
        visited[id(item)] = item  # keeps the item alive: its id could be reused otherwise
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            pending.extend(item)
        elif isinstance(item, np.ndarray):
            pending.extend(item.ravel() if item.dtype == object else ())
        if hasattr(item, "__dict__"):
            yield item
            pending.extend(vars(item).values())


def _by_position(transformer: ColumnTransformer) -> list[tuple[str, Any, Any]]:
    """The fitted steps of a transformer, with columns by position instead of by name."""
    positions = transformer._transformer_to_input_indices
    return [
        (name, step, positions[name][0] if isinstance(columns, str) else positions[name])
        for name, step, columns in transformer.transformers_
    ]
