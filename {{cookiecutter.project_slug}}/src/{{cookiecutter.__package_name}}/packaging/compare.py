"""How the answers of a retrained model differ from those of the model that it replaces."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..artifact.load import LoadedModel, Predict, load_model
from ..artifact.refusals import Refusal, reason
from ..schema.answers import Answers, Prediction
from ..schema.files import Row
from ..schema.signature import Cell, Signature
from .estimator import NotPackaged


class Present:
    """The model that is in a directory now."""

    def __init__(self, directory: Path) -> None:
        """Raises NotPackaged if there is none that may be served."""
        try:
            self._model: LoadedModel = load_model(directory, max_bytes=sys.maxsize)
        except Refusal as error:
            raise NotPackaged(f"nothing to compare with: {error.problem}.") from None

    def differences(
        self,
        signature: Signature,
        predict: Predict,
        examples: Sequence[Row],
        rows: Sequence[Sequence[Cell]],
    ) -> str:
        """One line: how often and by how much the answers to the examples differ.

        examples: by column name. rows: the same, as `predict` of the new signature takes them.
        """
        manifest = self._model.manifest
        other = manifest.signature
        before = f"compared with {manifest.name} {manifest.version}"
        if other.task != signature.task or other.classes != signature.classes:
            return f"{before}: it answers another question ({_about(other)})"
        missing = [name for name in other.columns if name not in examples[0]]
        if missing:
            return f"{before}: it takes columns that the examples lack: {', '.join(missing[:10])}"
        try:
            asked = [[_as_taken(row[name], other) for name in other.columns] for row in examples]
            old = Answers(other)(self._model.predict(asked))
        except Exception as error:  # the examples are those of the new model
            return f"{before}: it does not take the examples ({reason(error)})"
        new = Answers(signature)(predict(rows))
        return f"{before} on {len(rows)} examples: {_difference(old, new)}"


def _as_taken(cell: Cell, signature: Signature) -> Cell:
    return float(cell) if signature.layout == "array" and isinstance(cell, int) else cell


def _about(signature: Signature) -> str:
    classes = f" of {len(signature.classes)} classes" if signature.classes else ""
    return f"{signature.task}{classes}"


def _difference(old: Sequence[Prediction], new: Sequence[Prediction]) -> str:
    changed, largest, where = 0, 0.0, 0
    for number, (one, other) in enumerate(zip(old, new, strict=True)):
        changed += _labels(one) != _labels(other)
        for before, after in zip(_numbers(one), _numbers(other), strict=False):
            if abs(before - after) > largest:
                largest, where = abs(before - after), number
    labels = "" if isinstance(old[0], float | list) else f"{changed} labels changed; "
    place = f" (example row {where})" if largest else ""
    return f"{labels}the largest difference of a number is {largest:g}{place}"


def _labels(prediction: Any) -> Any:
    """What a prediction says besides numbers."""
    if not isinstance(prediction, dict):
        return None
    return {k: v for k, v in prediction.items() if k not in {"probabilities", "score"}}


def _numbers(prediction: Any) -> Iterator[float]:
    if isinstance(prediction, dict):
        prediction = [prediction.get("score"), *prediction.get("probabilities", {}).values()]
    for number in prediction if isinstance(prediction, list) else [prediction]:
        if isinstance(number, float):
            yield number
