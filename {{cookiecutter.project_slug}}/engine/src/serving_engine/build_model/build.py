"""Builds a model directory from a fitted estimator: the command `model package`.

Reading a pickle or joblib file runs the code in it. Only this command does that, for the owner of
the file; the service reads only the model directory that the command writes.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..blas_threads import limit_threads
from ..model_files.load_errors import LoadError
from ..model_files.manifest import (
    SCHEMA_VERSION,
    ArtifactRecord,
    Example,
    Manifest,
    Probes,
    Source,
)
from ..runtimes.scikit_learn.estimator import takes_records
from ..runtimes.scikit_learn.loading import parse
from ..runtimes.scikit_learn.versions import ALWAYS
from ..schema.signature import Column
from ..schema.text_cells import MISSING
from .compare import CurrentModel
from .dependency_advice import installed_releases, needed_libraries
from .examples import Examples, check_agreement, file_of, read_as_pandas, read_examples
from .infer_signature import column_names, infer_columns
from .known_texts import known_texts
from .layout_search import GOLDEN_EXAMPLES, Candidate, find_layout, spread
from .probes import MAX_ROWS, probe
from .publish import publish
from .read_estimator import (
    NotPackaged,
    Trust,
    check_may_be_trusted,
    read_estimator,
    to_skops,
)
from .reference_model import NeedsPandasOutput
from .report import closed_columns
from .row_files import TABLES

ARTIFACT = "model.skops"


def package(
    file: Path,
    examples: Path | str,
    directory: Path,
    *,
    name: str,
    version: str,
    description: str = "",
    license: str = "",  # noqa: A002 - the name of the manifest's field
    trust: Trust,
    chosen: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    compare: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write a model directory from an estimator file and rows of examples.

    trust: the types that may be part of the model. chosen: the columns of the examples that the
    estimator takes. outputs: names of its outputs, if it has several. compare: report how the
    predictions differ from those of the current model. progress: called with a line about each
    step. check: called with the folder of the new model before it replaces the old one; raises an
    error to keep the old one.
    The old model stays until the new one has passed every check of `serve`, and is then kept for
    `restore`. Returns the path of the manifest.
    Raises UsageError, one line with the remedy; nothing is written then.
    """
    limit_threads()
    check_may_be_trusted(trust.types, trust.transformers)
    current = CurrentModel(directory, trust.transformers) if compare else None
    progress(f"reading {file}")
    estimator = read_estimator(file, trust)
    table, names = _read_table(examples, estimator, chosen, progress)
    try:
        columns = infer_columns(table, names)
        progress(f"writing {ARTIFACT}, and testing which values the model accepts")

        def write() -> tuple[bytes, list[str], Candidate]:
            data, types = to_skops(estimator, trust)
            read = partial(parse, data, types, trust.transformers)
            return data, types, find_layout(estimator, read, table, columns, outputs)

        try:
            data, types, served = write()
        except NeedsPandasOutput:
            progress("a step needs DataFrames from the one before: set_output(transform='pandas')")
            estimator.set_output(transform="pandas")
            data, types, served = write()
        for line in closed_columns(served.signature):
            progress(line)
        if current is not None:
            progress(current.differences(served.signature, served.predict, table.rows, served.rows))
        progress("testing the model with several threads and with batches")
        probe_rows = [served.rows[number] for number in spread(len(served.rows), MAX_ROWS)]
        frames = served.signature.layout == "frame" and not takes_records(estimator)
        built_with = {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{library: installed(library) for library in ALWAYS[1:]},
            **installed_releases(needed_libraries(types, frames)),
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
            examples=_golden_examples(served),
            probes=Probes(**probe(served.predict, probe_rows, served.signature)),
        )
        progress("verifying the new model")
        return publish(directory, manifest, data, trust.transformers, check)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = problem["loc"][0]
        raise NotPackaged(
            f"{field} is invalid: {problem['msg']}. Choose another: --{field}"
        ) from None
    except LoadError as error:
        raise NotPackaged(f"the model cannot be served: {error.problem}.") from error


def _read_table(
    source: Path | str,
    estimator: Any,
    chosen: Sequence[str] | None,
    progress: Callable[[str], None],
) -> tuple[Examples, list[str]]:
    """Read the examples, as the model and pandas know them; return them with the columns to use."""
    table = read_examples(source)
    names = column_names(estimator, table, chosen)
    path = file_of(source)
    if path is not None and path.suffix.lower() in TABLES:
        texts = [
            Column(name=name, dtype="string", nullable=True, words=sorted(known & MISSING))
            for name, known in known_texts(estimator, names).items()
        ]
        table = read_as_pandas(path, read_examples(path, texts) if texts else table, texts)
        check_agreement(table, names)
    missing = ", ".join(f"{name} {table.missing[name]}" for name in names if name in table.missing)
    if missing:
        progress(f"words for a missing value, such as NA, by column: {missing}")
    others = [str(name) for name in table.rows[0] if name not in names]
    if others:
        progress(f"columns that the model does not take: {', '.join(others[:10])}")
    return table, names


def _golden_examples(served: Candidate) -> list[Example]:
    names = served.signature.columns
    return [
        Example(
            input=dict(zip(names, served.rows[number], strict=True)),
            output=served.reference_predictions[number],
        )
        for number in spread(len(served.rows), GOLDEN_EXAMPLES)
    ]


def _source(file: Path) -> Source:
    with file.open("rb") as opened:
        return Source(file=file.name, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
