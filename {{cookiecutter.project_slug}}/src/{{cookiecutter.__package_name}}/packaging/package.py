"""From a fitted estimator to a model directory: `model package`.

Reading a pickle or joblib file runs whatever is in it. That happens here and nowhere else, by the
command of the person who owns the file; the service only ever reads what this writes.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..artifact.manifest import (
    SCHEMA_VERSION,
    ArtifactRecord,
    Example,
    Manifest,
    Probes,
    Source,
    Tolerance,
)
from ..artifact.refusals import Refusal, reason
from ..artifact.runtimes import scikit_learn
from ..artifact.runtimes.estimator import Estimator, fitted_on_array
from ..artifact.threads import limit_threads
from ..schema.answers import Answers, Prediction, agree
from ..schema.signature import Cell, Column, Signature
from .acceptance import Acceptance, accepted
from .answers import Owner
from .compare import Present
from .directory import publish
from .estimator import NotPackaged, check_may_be_trusted, read_estimator, to_skops
from .examples import Examples, read_examples, table
from .infer import column_names, columns, signature_of
from .probes import MOST_ROWS, probe
from .project import libraries, releases

ARTIFACT = "model.skops"
GOLDEN_EXAMPLES = 8

Rows = Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Served:
    """A model as it is served, and the examples.

    rows: all of them, in signature order. own: the estimator's own answers to some, by number.
    """

    predict: Estimator
    signature: Signature
    rows: Rows
    own: dict[int, Prediction]


def package(
    file: Path,
    examples: Path | str,
    directory: Path,
    *,
    name: str,
    version: str,
    description: str = "",
    license: str = "",  # noqa: A002 - the manifest's own word
    trusted_types: Sequence[str] = (),
    chosen: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    compare: bool = False,
    review: Callable[[Sequence[str]], bool] = lambda _: False,
    tell: Callable[[str], None] = lambda _: None,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write a model directory from an estimator file and rows of examples.

    chosen: the columns of the examples that the estimator takes. outputs: what its answers are
    called, where it gives several. compare: tell first how the answers differ from those of the
    model that is there. review: asked whether types that skops does not trust may be. tell: hears
    what is being done. check: given the folder of the new model before it replaces the old one.
    What was in `directory` stays until the new model has passed every check of `serve`, and is
    kept for `restore`. Raises UsageError, one line with the remedy; nothing is written then.
    """
    limit_threads()
    check_may_be_trusted(trusted_types)
    present = Present(directory) if compare else None
    tell(f"reading {file}")
    estimator = read_estimator(file, trusted_types, review)
    given = read_examples(examples)
    tell(f"writing {ARTIFACT}")
    data, types = to_skops(estimator, trusted_types, review)
    try:
        tell("asking the model what it accepts")
        found = columns(given, column_names(estimator, given, chosen))
        served = _first_that_fits(
            estimator, lambda: scikit_learn.parse(data, types), given, found, outputs
        )
        if present is not None:
            tell(present.differences(served.signature, served.predict, given.rows, served.rows))
        tell("asking it from several threads and in batches")
        built_with = {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{library: installed(library) for library in scikit_learn.ALWAYS[1:]},
            **releases(libraries(types, served.signature.layout)),
        }
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            version=version,
            description=description,
            license=license,
            created=datetime.now(UTC).replace(microsecond=0),
            source=_source(file),
            artifact=ArtifactRecord(
                file=ARTIFACT,
                format="skops",
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                trusted_types=types,
            ),
            built_with=built_with,
            signature=served.signature,
            examples=_golden(served),
            probes=Probes(**probe(served.predict, _some(served.rows, MOST_ROWS))),
        )
        tell("loading it as the service will")
        return publish(directory, manifest, data, check)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise NotPackaged(f"{problem['loc'][0]} cannot be used: {problem['msg']}.") from None
    except Refusal as error:
        raise NotPackaged(f"the model cannot be served as it is: {error.problem}.") from error


def _first_that_fits(
    estimator: Any,
    parse: Callable[[], Any],
    examples: Examples,
    found: Sequence[Column],
    outputs: Sequence[str] | None,
) -> Served:
    """The simplest layout in which serving gives the owner's own answers.

    parse: the estimator as the artifact has it; serving changes it.
    Raises NotPackaged if there is none, for the reason of the first.
    """
    refused: NotPackaged | None = None
    for layout in _layouts(estimator, found):
        try:
            owner, rows = _owner(estimator, layout, examples, [column.name for column in found])
            return _served(owner, parse(), signature_of(owner, layout, found, outputs), rows)
        except NotPackaged as error:
            refused = refused or error
    raise refused or NotPackaged("the model has no columns.")


def _served(owner: Owner, loaded: Any, draft: Signature, rows: Rows) -> Served:
    asking = draft.model_copy(
        update={"inputs": [c.model_copy(update={"nullable": True}) for c in draft.inputs]}
    )
    asked = Acceptance(scikit_learn.serve(loaded, asking), rows[owner.typical])
    taken = accepted(draft.inputs, rows, asked, loaded)
    signature = Signature.model_validate(draft.model_dump() | {"inputs": taken})
    served = scikit_learn.serve(loaded, signature)
    answers, tolerance = Answers(signature), Tolerance()
    own = {}
    for number in {*_spread(len(rows), MOST_ROWS), *_spread(len(rows), GOLDEN_EXAMPLES)}:
        own[number] = owner.answer(number, signature)
        try:
            (answer,) = answers(served([rows[number]]))
        except Exception as error:  # whatever the model raises
            text = f"served, the model fails on example row {number} ({reason(error)})."
            raise NotPackaged(text) from error
        if not agree(own[number], answer, tolerance.relative, tolerance.absolute):
            raise NotPackaged(f"served, the model answers example row {number} differently.")
    return Served(served, signature, rows, own)


def _golden(served: Served) -> list[Example]:
    names = served.signature.columns
    return [
        Example(input=dict(zip(names, served.rows[number], strict=True)), output=served.own[number])
        for number in _spread(len(served.rows), GOLDEN_EXAMPLES)
    ]


def _layouts(estimator: Any, found: Sequence[Column]) -> list[str]:
    """What may be tried, the simplest first."""
    dtypes = {column.dtype for column in found}
    named = hasattr(estimator, "feature_names_in_")
    if dtypes == {"string"} and len(found) == 1 and not named:
        return ["text", "frame"]
    if dtypes <= {"float64", "int64"} or ("string" not in dtypes and not named):
        return ["array", "frame"]
    return ["frame"]


def _cell(cell: Cell, layout: str) -> Cell:
    return float(cell) if layout == "array" and isinstance(cell, int | bool) else cell


def _owner(
    estimator: Any, layout: str, examples: Examples, names: Sequence[str]
) -> tuple[Owner, list[list[Cell]]]:
    """The owner with the examples as they are without a service, and the rows as it has them."""
    rows = [[_cell(row[name], layout) for name in names] for row in examples.rows]
    typical = next((number for number, row in enumerate(rows) if None not in row), 0)
    if layout == "text":
        return Owner(estimator, [row[0] for row in rows], typical), rows
    named = hasattr(estimator, "feature_names_in_")
    frame = table(examples, names) if named or layout == "frame" else None
    if frame is None and layout == "frame":
        raise NotPackaged("columns of mixed types need pandas: `uv sync --extra package`.")
    fitted = np.array(rows, dtype=np.float64) if frame is None else frame
    if frame is not None and fitted_on_array(estimator):
        fitted = frame.to_numpy(dtype=object)
    return Owner(estimator, fitted, typical), rows


def _spread(count: int, most: int) -> list[int]:
    """At most so many numbers of rows, from all over the file: it may be sorted."""
    taken = min(most, count)
    return [number * count // taken for number in range(taken)]


def _some(rows: Rows, most: int) -> Rows:
    return [rows[number] for number in _spread(len(rows), most)]


def _source(file: Path) -> Source:
    with file.open("rb") as opened:
        return Source(file=file.name, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
