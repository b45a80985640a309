"""What a builder takes and returns: it makes the model of one runtime from its owner's files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model_files.manifest import ArtifactRecord
from ..runtimes.base import OwnerCode
from .candidate import Candidate


@dataclass(frozen=True)
class Trust:
    """The types that the owner of a model trusts, besides those that skops trusts by itself.

    types: names of reviewed types. transformers: name of the module whose classes may be trusted.
    review: called with the names of other types; returns whether the owner trusts them.
    """

    types: Sequence[str] = ()
    transformers: str | None = None
    review: Callable[[Sequence[str]], bool] = lambda _: False


@dataclass(frozen=True)
class BuildOptions:
    """What the owner asks for.

    files: the model. examples: a path, or JSON text. chosen: the columns of the examples that the
    model takes. outputs: names of its outputs, if it has several. classes: the labels of an ONNX
    model, in the order of its probabilities. progress: called with a line about each step.
    """

    files: Sequence[Path]
    examples: Path | str
    code: OwnerCode
    trust: Trust
    chosen: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    progress: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Built:
    """A model that is ready to be published.

    rows: the examples by column name. files: the content of each file of `artifact`, or where it
    is. thread_safe: whether the owner allows several threads. fork_safe: see `Probes`.
    """

    candidate: Candidate
    rows: Sequence[dict[str, Any]]
    artifact: ArtifactRecord
    files: Mapping[str, bytes | Path]
    built_with: dict[str, str] = field(default_factory=dict)
    thread_safe: bool = True
    fork_safe: bool = True
