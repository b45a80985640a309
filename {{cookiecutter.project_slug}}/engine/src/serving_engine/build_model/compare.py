"""Compares the predictions of a new model with those of the model that it replaces."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..model_files.load_errors import LoadError
from ..runtimes.base import OwnerCode, Predict
from ..runtimes.load import load_directory
from ..schema.predictions import Prediction, PredictionFormatter, numbers_of
from ..schema.signature import CellRows, Signature
from ..text import reason
from .candidate import convert_rows
from .errors import NotPackaged
from .row_files import Row


class CurrentModel:
    """The model that is in a directory now."""

    def __init__(self, directory: Path, code: OwnerCode) -> None:
        """Raises NotPackaged if the directory holds no model that may be served."""
        try:
            self._model = load_directory(directory, sys.maxsize, code)
        except LoadError as error:
            raise NotPackaged(f"nothing to compare with: {error.problem}.") from None

    def differences(
        self, signature: Signature, predict: Predict, examples: Sequence[Row], rows: CellRows
    ) -> str:
        """One line: in how many examples and by how much the predictions differ.

        signature, predict: of the new model. examples: by column name. rows: the same examples, in
        the order of the new signature.
        """
        manifest = self._model.manifest
        current = manifest.signature
        comparison = f"compared with {manifest.name} {manifest.version}"
        if current.task != signature.task or current.classes != signature.classes:
            return f"{comparison}: it has another task or other classes ({_task(current)})"
        missing = [name for name in current.columns if name not in examples[0]]
        if missing:
            return f"{comparison}: the examples lack its columns {', '.join(missing[:10])}"
        try:
            current_rows = convert_rows(examples, current.inputs, current.layout)
            old = PredictionFormatter(current)(self._model.predict(current_rows))
        except Exception as error:  # the examples are those of the new model
            return f"{comparison}: it fails on the examples ({reason(error)})"
        new = PredictionFormatter(signature)(predict(rows))
        return f"{comparison} on {len(rows)} examples: {_difference(old, new)}"


def _task(signature: Signature) -> str:
    classes = f" of {len(signature.classes)} classes" if signature.classes else ""
    return f"{signature.task}{classes}"


def _difference(old: Sequence[Prediction], new: Sequence[Prediction]) -> str:
    changed = 0
    largest = 0.0
    largest_row = 0
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        changed += _label_members(before) != _label_members(after)
        for one, other in zip(numbers_of(before), numbers_of(after), strict=False):
            if abs(one - other) > largest:
                largest = abs(one - other)
                largest_row = number
    labels = "" if isinstance(old[0], float | list) else f"{changed} labels changed; "
    place = f" (example row {largest_row})" if largest else ""
    return f"{labels}the largest difference of a number is {largest:g}{place}"


def _label_members(prediction: Prediction) -> dict[str, object]:
    """The members of a prediction that are not numbers."""
    if not isinstance(prediction, dict):
        return {}
    return {k: v for k, v in prediction.items() if k not in {"probabilities", "score"}}
