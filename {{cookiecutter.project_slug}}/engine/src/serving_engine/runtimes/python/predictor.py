"""Runs the owner's class: from its files to a predictor."""

from importlib import import_module
from typing import cast

from ...model_files.load_errors import ModelClassFailed, ModelClassInvalid, SignatureMismatch
from ...model_files.read_artifact import VerifiedCopies
from ...schema.predictions import Outputs
from ...schema.request_parser import Values
from ...schema.signature import CellRows, Signature
from ...text import reason
from ..captured_warnings import capture_warnings, install_warning_capture
from ..inputs import MixedNulls, input_builder, predict_groups
from .answers import to_outputs
from .model_class import PythonModel


class PythonPredictor:
    """A `Predictor` that calls the owner's model.

    together: whether all rows of a call belong together, as the prediction for one depends on the
    others.
    """

    bounded = False

    def __init__(self, model: PythonModel, signature: Signature, *, together: bool = False) -> None:
        install_warning_capture()
        self._model = model
        self._signature = signature
        self._build_input = input_builder(signature, mixed_nulls=together)

    def __call__(self, rows: Values) -> Outputs:
        """Predict n rows. Raises any exception of the model, and InvalidAnswer."""
        try:
            batch = self._build_input(rows)
        except MixedNulls:
            return predict_groups(self, self._signature, cast("CellRows", rows))
        # A copy: the batch may be a read-only view of a request's bytes, and the model may write.
        with capture_warnings():
            answer = self._model.predict(batch.copy())
        return to_outputs(answer, self._signature, len(rows))

    def use_fast_path(self, rows: CellRows) -> None:
        """Nothing: the owner's code is the only one."""


def import_class(reference: str | None) -> type[PythonModel]:
    """Import the class of the settings' `model_class`. Raises ModelClassInvalid."""
    if reference is None:
        raise ModelClassInvalid(
            "this service has no class for models of the runtime python",
            'Name it in settings.py: model_class = f"{__package__}.model:Model"',
        )
    module, _, name = reference.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # any exception of the owner's code
        raise ModelClassInvalid(f"cannot import {reference} ({reason(error)})") from error
    if not (isinstance(found, type) and issubclass(found, PythonModel)):
        raise ModelClassInvalid(
            f"{reference} is no class that is derived from PythonModel",
            "Derive it: `from serving_engine import PythonModel`.",
        )
    return found


def load_class(reference: str | None, copies: VerifiedCopies) -> PythonModel:
    """Make the owner's model and let it load its files, which are deleted then.

    Raises ModelClassInvalid or ModelClassFailed.
    """
    kind = import_class(reference)
    with copies.folder() as folder:
        try:
            model = kind()
            model.load(folder)
        except Exception as error:  # any exception of the owner's code
            raise ModelClassFailed(f"{kind.__name__}.load failed ({reason(error)})") from error
    return model


def check_classes(model: PythonModel, signature: Signature) -> None:
    """Raise SignatureMismatch if the model has other classes or outputs than the manifest."""
    if list(model.classes) != (signature.classes or []):
        raise SignatureMismatch("class mismatch: the model has other classes than the manifest")
    if model.outputs and list(model.outputs) != (signature.outputs or []):
        raise SignatureMismatch("output mismatch: the model has other outputs than the manifest")
