"""Whether a model may take the place of another while clients keep calling.

Whatever was accepted must still be: clients cannot change at the same moment. A signature that
takes less, or means something else by the same request, is a deployment of its own.
"""

from ..errors import NarrowerSignature
from .signature import Column, Signature

REMEDY = "Deploy it as a service of its own, or restart this one."


def check_accepts_as_much(old: Signature, new: Signature) -> None:
    """Raise NarrowerSignature unless `new` takes everything that `old` takes, and means the same
    by it."""
    if old.task != new.task:
        raise NarrowerSignature(
            f"the new model is for {new.task}, the old one for {old.task}. {REMEDY}"
        )
    for number, (was, becomes) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        if was.name != becomes.name:
            raise NarrowerSignature(
                f"column {number} was {was.name!r} and would be {becomes.name!r}. {REMEDY}"
            )
        problem = _narrower(was, becomes)
        if problem:
            raise NarrowerSignature(f"column {was.name!r} {problem}. {REMEDY}")
    if len(old.inputs) != len(new.inputs):
        longer = max(old.columns, new.columns, key=len)
        name = longer[min(len(old.inputs), len(new.inputs))]
        change = "needed" if longer == new.columns else "unknown"
        raise NarrowerSignature(f"column {name!r} would be {change}. {REMEDY}")


def _narrower(old: Column, new: Column) -> str:
    """What `new` refuses of that which `old` accepts."""
    if (old.dtype, new.dtype) != ("int64", "float64") and old.dtype != new.dtype:
        return f"was {old.dtype} and would be {new.dtype}"
    if old.nullable and not new.nullable:
        return "could be null"
    if new.bounds[0] > old.bounds[0]:
        return f"could be less than {new.bounds[0]}"
    if new.bounds[1] < old.bounds[1]:
        return f"could be more than {new.bounds[1]}"
    lost = None if old.allowed is None else [v for v in old.allowed if v not in (new.allowed or ())]
    if new.allowed is not None and lost != []:
        return "could be " + (repr(lost[0]) if lost else "what is none of its categories")
    return ""
