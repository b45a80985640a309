"""Whether a reload may replace a model while clients keep calling.

Clients cannot change at the same moment, so the new model must accept every request that the old
one accepts. A model with a narrower signature, or with another meaning of the same request, needs a
separate deployment.
"""

from ..errors import IncompatibleSignature
from .signature import Column, Signature

REMEDY = "Deploy it as a separate service, or restart this one."


def check_accepts_as_much(old: Signature, new: Signature) -> None:
    """Raise IncompatibleSignature unless `new` accepts every request that `old` accepts, with the
    same meaning."""
    if old.task != new.task:
        raise IncompatibleSignature(
            f"the new model is for {new.task}, the old one for {old.task}. {REMEDY}"
        )
    for number, (was, becomes) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        if was.name != becomes.name:
            raise IncompatibleSignature(
                f"column {number} was {was.name!r} and would be {becomes.name!r}. {REMEDY}"
            )
        problem = _narrower(was, becomes)
        if problem:
            raise IncompatibleSignature(f"column {was.name!r} {problem}. {REMEDY}")
    if len(old.inputs) != len(new.inputs):
        longer = max(old.columns, new.columns, key=len)
        name = longer[min(len(old.inputs), len(new.inputs))]
        change = "needed" if longer == new.columns else "unknown"
        raise IncompatibleSignature(f"column {name!r} would be {change}. {REMEDY}")


def _narrower(old: Column, new: Column) -> str:
    """A value that `old` accepts and `new` does not, or an empty string."""
    if (old.dtype, new.dtype) != ("int64", "float64") and old.dtype != new.dtype:
        return f"was {old.dtype} and would be {new.dtype}"
    if (old.timezone is None) != (new.timezone is None):
        return "would need other dates: with an offset, or without"
    if old.nullable and not new.nullable:
        return "could be null"
    if new.bounds[0] > old.bounds[0]:
        return f"could be less than {new.bounds[0]}"
    if new.bounds[1] < old.bounds[1]:
        return f"could be more than {new.bounds[1]}"
    return _lost_category(old, new)


def _lost_category(old: Column, new: Column) -> str:
    if new.allowed is None:
        return ""
    lost = [value for value in old.allowed or () if value not in new.allowed]
    if lost:
        return f"could be {lost[0]!r}"
    return "could be what is none of its categories" if old.allowed is None else ""
