"""The interface of a runtime, which runs the models of some formats.

Adding a runtime is one module or folder that has a `Runtime`, one row in `registry.py`, and one
extra in pyproject.toml.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..model_files.manifest import ArtifactRecord, Manifest
from ..schema.predictions import Outputs
from ..schema.request_parser import Values
from ..schema.signature import CellRows

Predict = Callable[[Values], Outputs]
"""Predicts n rows, each in signature order; raises any exception of the model."""

ModelFiles = Any
"""The verified files of a model: what `Runtime.read` returns and `Runtime.load` takes."""


@dataclass(frozen=True)
class OwnerCode:
    """The owner's code that a model may need.

    transformers: name of the module whose classes may be part of a scikit-learn model.
    model_class: module and name of the class that is the model in the runtime `python`.
    """

    transformers: str | None = None
    model_class: str | None = None


class Predictor(Protocol):
    """A loaded model that can predict."""

    @property
    def bounded(self) -> bool:
        """Whether the time of a call depends on the number of rows alone, by the kind of model.

        Only such a model may be called in the event loop: no input can make it slow.
        """

    def __call__(self, rows: Values, /) -> Outputs:
        """Predict n rows, each in signature order: see `Rows.values` and `Outputs`.

        Raises any exception of the model.
        """

    def use_fast_path(self, rows: CellRows) -> None:
        """Use a faster computation of the same outputs from now on, if there is one.

        It is used only if it gives bit-equal outputs for `rows`: golden examples in signature
        order.
        """


class Runtime(Protocol):
    """Runs the models of some formats.

    name: for documents and messages. formats: values of the manifest's `artifact.format`.
    `read` and `check_environment` work without the libraries of the runtime.
    """

    name: str
    formats: frozenset[str]

    def read(self, directory: Path, artifact: ArtifactRecord, max_bytes: int) -> ModelFiles:
        """Read the files of a model directory, verify them, and check them before a parser does.

        max_bytes: largest sum of their sizes, also expanded. Raises LoadError.
        """

    def check_environment(self, built_with: Mapping[str, str]) -> str | None:
        """Compare the installed libraries with those that the model was built with.

        built_with: the manifest's releases, by library. Returns a log line about a difference that
        is allowed, or None. Raises VersionMismatch or LibraryMissing.
        """

    def import_libraries(self, code: OwnerCode) -> None:
        """Import the libraries that run the model, before workers are forked. Raises LoadError."""

    def load(self, files: ModelFiles, manifest: Manifest, code: OwnerCode) -> Predictor:
        """Load a model from verified files. Raises LoadError."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that passed every check.

    predict: see `Predict`. seconds: how long loading took. bounded: see `Predictor.bounded`.
    shadow: returns the shadow model that was loaded with it, or raises the error with which that
    failed; None if it was not tried.
    """

    manifest: Manifest
    predict: Predict
    seconds: float
    bounded: bool = False
    shadow: "Callable[[], LoadedModel] | None" = None
