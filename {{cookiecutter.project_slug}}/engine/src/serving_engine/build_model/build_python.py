"""Builds a model of the runtime `python` from the owner's class and the files that it reads."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..distribution import add_command
from ..model_files.manifest import ArtifactRecord, FileRecord
from ..model_files.read_artifact import VerifiedCopies
from ..runtimes.python.answers import InvalidAnswer, task_of, to_outputs, width_of
from ..runtimes.python.model_class import PythonModel
from ..runtimes.python.predictor import PythonPredictor, load_class
from ..schema.predictions import Prediction
from ..schema.signature import Column, Layout, Signature
from ..text import reason
from .builder import BuildOptions, Built
from .candidate import convert_rows, example_prediction, verified_candidate
from .dependency_advice import installed_releases, required_releases
from .errors import NotPackaged
from .example_table import read_example_table
from .examples import Examples, to_frame
from .infer_columns import columns_of_layout, infer_columns, usual_layout


def build(options: BuildOptions) -> Built:
    """Load the owner's class with copies of its files. Raises UsageError or LoadError."""
    sources = dict(_files(options.files))
    records = [_record(name, path) for name, path in sources.items()]
    try:
        artifact = ArtifactRecord(format="python", files=records)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise NotPackaged(f"the files cannot be packaged: {problem}. Rename one.") from None
    options.progress(f"loading {options.code.model_class} with {len(sources)} files")
    copies = VerifiedCopies(sources, records)
    model = load_class(options.code.model_class, copies)
    table, names = read_example_table(options)
    columns = infer_columns(table, names)
    layout = model.layout or usual_layout(columns)
    reference = _Reference(model, _batch(table, columns, layout), table)
    options.progress("asking the model for its task, and which values it accepts")
    signature = _signature(reference, layout, columns, options.outputs)
    rows = convert_rows(table.rows, columns, layout)
    serve = partial(PythonPredictor, model)
    return Built(
        verified_candidate(reference, serve, signature, rows),
        table.rows,
        artifact,
        sources,
        _built_with(type(model), layout),
        thread_safe=model.thread_safe,
        fork_safe=model.fork_safe,
    )


def _built_with(kind: type[PythonModel], layout: Layout) -> dict[str, str]:
    package = kind.__module__.partition(".")[0]
    numpy = installed_releases(["numpy"])
    return numpy | required_releases(package, frames=layout == "frame")


class _Reference:
    """The model, called with the examples as its owner has them."""

    def __init__(self, model: PythonModel, examples: Any, table: Examples) -> None:
        self.model = model
        self._examples = examples
        complete = (n for n, row in enumerate(table.rows) if None not in row.values())
        self.complete_example = next(complete, 0)

    def answer(self, number: int) -> Any:
        """What `predict` returns for one example. Raises NotPackaged if it fails."""
        batch = getattr(self._examples, "iloc", self._examples)[number : number + 1]
        try:
            with warnings.catch_warnings(action="ignore"):
                return self.model.predict(batch.copy())
        except Exception as error:  # any exception of the owner's code
            raise NotPackaged(
                f"{type(self.model).__name__}.predict fails on example row {number} "
                f"({reason(error)}). Correct the class or the row."
            ) from error

    def predict(self, number: int, signature: Signature) -> Prediction:
        try:
            outputs = to_outputs(self.answer(number), signature, 1)
        except InvalidAnswer as error:
            raise NotPackaged(f"example row {number}: {error}.") from None
        return example_prediction(outputs, number, signature)


def _files(sources: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The files by their path in the model directory: those of a folder are in one of its name."""
    for source in sources:
        if source.is_file():
            yield source.name, source
        elif source.is_dir():
            found = sorted(path for path in source.rglob("*") if path.is_file())
            for path in found:
                yield path.relative_to(source.parent).as_posix(), path
        else:
            raise NotPackaged(f"{source} is neither a file nor a folder.")


def _record(name: str, path: Path) -> FileRecord:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileRecord(file=name, size=file.tell(), sha256=digest)
    except OSError as error:
        raise NotPackaged(f"cannot read {path}: {error.strerror}.") from None
    except ValidationError:
        raise NotPackaged(
            f"a file of a model cannot be called {name}. Rename it: letters, digits, '.', '_' and "
            "'-', with a letter or a digit first."
        ) from None


def _batch(table: Examples, columns: Sequence[Column], layout: Layout) -> Any:
    """The examples as the model gets them."""
    names = [column.name for column in columns]
    if layout == "text":
        return [row[names[0]] for row in table.rows]
    if layout == "array":
        return np.array(convert_rows(table.rows, columns, layout), dtype=np.float64)
    frame = to_frame(table, names)
    if frame is None:
        raise NotPackaged(
            "columns of mixed types need pandas, which is not installed. "
            f"Add it: {add_command('pandas')}"
        )
    return frame


def _signature(
    reference: _Reference,
    layout: Layout,
    columns: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Signature:
    """The signature that the model's answer to one example means. Raises NotPackaged."""
    model = reference.model
    answer = reference.answer(reference.complete_example)
    try:
        fields: dict[str, Any] = {"task": task_of(answer)}
        if fields["task"] in {"classification", "multilabel"}:
            fields["classes"] = list(model.classes) or None
            fields["probabilities"] = "probabilities" in answer
            if not fields["classes"]:
                raise NotPackaged(
                    f"{type(model).__name__} has no classes. Name them, in the order of the "
                    'probabilities: classes = ["no", "yes"]'
                )
        elif fields["task"] == "regression" and width_of(answer) > 1:
            names = outputs or model.outputs or [f"output_{n}" for n in range(width_of(answer))]
            fields["outputs"] = list(names)
        return Signature(layout=layout, inputs=columns_of_layout(columns, layout), **fields)
    except InvalidAnswer as error:
        raise NotPackaged(f"{error}.") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NotPackaged(f"the model cannot be served: {problem['msg']}.") from None
