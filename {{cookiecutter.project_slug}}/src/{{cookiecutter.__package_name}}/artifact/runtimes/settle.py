"""Makes a fitted estimator fit for serving: one thread, no output, rows without names."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

# Names of columns are matched when a request is parsed; without a DataFrame they would only cause
# a warning for every call. A pipeline that makes DataFrames of its own would need pandas.
_NAMES = ("feature_names_in_", "_sklearn_output_config")


def settle(model: Any, *, names: bool = False) -> None:
    """Change an estimator, and every estimator that it holds, for serving.

    names: whether it is called with named columns; otherwise it forgets their names.
    `get_params` knows only the arguments of constructors; what runs are the fitted copies.
    """
    for part in parts(model):
        state = vars(part)
        if hasattr(part, "get_params"):
            for name, value in (("n_jobs", 1), ("verbose", 0)):
                if name in state:
                    setattr(part, name, value)
        if type(part).__module__.startswith("xgboost.") and hasattr(part, "set_param"):
            part.set_param({"nthread": 1})  # a booster has its own idea of n_jobs
        if names:
            continue
        if "_fitted_with_feature_names" in state:  # LightGBM's own way to have names
            part._fitted_with_feature_names = False
        if not type(part).__module__.startswith("sklearn."):
            continue  # a class of transformers.py may well use its names
        if isinstance(part, ColumnTransformer) and "feature_names_in_" in state:
            part.transformers_ = _by_position(part)
        for name in _NAMES:
            state.pop(name, None)


def parts(model: Any) -> Iterator[Any]:
    """Every object that a model consists of, through attributes, containers and arrays."""
    waiting, seen = [model], {}
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen[id(item)] = item  # kept alive: an id may otherwise come again
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif isinstance(item, np.ndarray):
            waiting.extend(item.ravel() if item.dtype == object else ())
        if hasattr(item, "__dict__"):
            yield item
            waiting.extend(vars(item).values())


def _by_position(transformer: ColumnTransformer) -> list[tuple[str, Any, Any]]:
    """The fitted steps, with columns by position in place of columns by name."""
    positions = transformer._transformer_to_input_indices
    return [
        (name, step, positions[name][0] if isinstance(columns, str) else positions[name])
        for name, step, columns in transformer.transformers_
    ]
