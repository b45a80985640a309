"""What is written of an estimator: all that predicts, and little of what was only used to fit it.

An estimator keeps the arguments that it was fitted with. Some cannot be written as skops, or hold
functions that nothing calls again: score functions, scorers, selectors of columns, the index of a
DataFrame. They are left out, or written in another form, while the file is made. That the result
predicts the same is tested afterwards, like everything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodDescriptorType
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.cluster import Birch
from sklearn.compose import ColumnTransformer
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline

from ..runtimes.scikit_learn import text_functions
from ..runtimes.scikit_learn.prepare import parts
from ..runtimes.scikit_learn.trusted_types import is_part_of_a_library

_ONLY_FOR_FITTING = {
    "score_func",  # of the selectors of features
    "scoring",
    "scorer_",
    "cv",
    "memory",
    "optimizer",  # of a Gaussian process
    "dummy_leaf_",  # of Birch: its tree, which only partial_fit uses
    "root_",
}
_SIMPLE = (str, int, float, bool, type(None))


_BIRCH = type("Birch", (BaseEstimator,), {"__module__": Birch.__module__})
"""skops refuses a Birch because of the references in its tree, which is left out here."""


@contextmanager
def portable(estimator: Any) -> Iterator[None]:
    """Change an estimator, and every estimator in it, to what can be written; then undo that."""
    before: list[tuple[Any, type, dict[str, Any]]] = []
    try:
        for part in list(parts(estimator)):
            kind = _written_as(part)
            changes = dict(_changes(part))
            if changes or kind is not type(part):
                before.append((part, type(part), {name: vars(part)[name] for name in changes}))
                vars(part).update(changes)
                part.__class__ = kind
        yield
    finally:
        for part, kind, attributes in before:
            part.__class__ = kind
            vars(part).update(attributes)


def _written_as(part: Any) -> type:
    """The class that a part is written as."""
    kind = type(part)
    if kind is Birch:
        return _BIRCH
    return Pipeline if _resamples(part) else kind


def _resamples(part: Any) -> bool:
    """Whether a part is a pipeline of imbalanced-learn, which resamples what it is fitted on."""
    return isinstance(part, Pipeline) and type(part).__module__.startswith("imblearn.")


def _changes(part: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of a part that are written with another value."""
    sklearn = type(part).__module__.startswith("sklearn.")
    for name, value in vars(part).items():
        if isinstance(value, MethodDescriptorType) and value.__objclass__ is str:
            function = getattr(text_functions, value.__name__, None)
            if function is not None:
                yield name, function
        elif name == "_score_func" and not is_part_of_a_library(_name(value)):
            yield name, accuracy_score  # of a scorer: only its parameters are looked at
        elif sklearn and name in _ONLY_FOR_FITTING and not isinstance(value, _SIMPLE):
            yield name, None
    if isinstance(part, ColumnTransformer):
        yield from _columns(part)
    if _resamples(part):
        yield "steps", [step for step in part.steps if not hasattr(step[1], "fit_resample")]


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _columns(transformer: Any) -> Iterator[tuple[str, Any]]:
    """The columns of each transformer: those that a selector found, and an Index as a list.

    A ColumnTransformer that is not fitted is the argument of a fitted one: it selects none.
    """
    fitted = "transformers_" in vars(transformer)
    found = {}
    if fitted:
        names = [name for name, *_ in transformer.transformers]
        found = dict(zip(names, transformer._columns, strict=True))
        name, step, columns = transformer._remainder
        yield "_columns", [_plain(columns) for columns in transformer._columns]
        yield "_remainder", (name, step, _plain(columns))
    for attribute in ("transformers", "transformers_") if fitted else ("transformers",):
        yield (
            attribute,
            [
                (name, step, _plain(found.get(name, []) if callable(columns) else columns))
                for name, step, columns in getattr(transformer, attribute)
            ],
        )


def _plain(columns: Any) -> Any:
    """Columns as a list, if they are an Index or a Series of pandas."""
    pandas = type(columns).__module__.partition(".")[0] == "pandas"
    return columns.tolist() if pandas and hasattr(columns, "tolist") else columns
