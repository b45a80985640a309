"""Builds a model of the runtime `scikit-learn` from a fitted estimator."""

import hashlib
from functools import partial
from importlib.metadata import version as installed

from ..model_files.manifest import ArtifactRecord
from ..runtimes.scikit_learn.estimator import takes_records
from ..runtimes.scikit_learn.loading import parse
from ..runtimes.versions import ALWAYS
from .builder import BuildOptions, Built
from .candidate import Candidate
from .dependency_advice import installed_releases, needed_libraries
from .errors import NotPackaged
from .example_table import read_example_table
from .infer_columns import infer_columns
from .known_texts import known_texts
from .layout_search import find_layout
from .read_estimator import check_may_be_trusted, read_estimator, to_skops
from .reference_model import NeedsPandasOutput
from .rejected_models import BY_A_CLASS

ARTIFACT = "model.skops"


def build(options: BuildOptions) -> Built:
    """Read an estimator and write it as a skops file. Raises UsageError or LoadError."""
    trust, progress = options.trust, options.progress
    check_may_be_trusted(trust.types, trust.transformers)
    if len(options.files) != 1:
        raise NotPackaged(f"a model of scikit-learn is one file. If it has several, {BY_A_CLASS}.")
    (file,) = options.files
    progress(f"reading {file}")
    estimator = read_estimator(file, trust)
    table, names = read_example_table(options, estimator, partial(known_texts, estimator))
    columns = infer_columns(table, names)
    progress(f"writing {ARTIFACT}, and testing which values the model accepts")

    def write() -> tuple[bytes, list[str], Candidate]:
        data, types = to_skops(estimator, trust)
        read = partial(parse, data, types, trust.transformers)
        return data, types, find_layout(estimator, read, table, columns, options.outputs)

    try:
        data, types, served = write()
    except NeedsPandasOutput:
        progress("a step needs DataFrames from the one before: set_output(transform='pandas')")
        estimator.set_output(transform="pandas")
        data, types, served = write()
    frames = served.signature.layout == "frame" and not takes_records(estimator)
    artifact = ArtifactRecord(
        file=ARTIFACT,
        format="skops",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        trusted_types=types,
    )
    built_with = {
        **{library: installed(library) for library in ALWAYS[1:]},
        **installed_releases(needed_libraries(types, frames)),
    }
    return Built(served, table.rows, artifact, {ARTIFACT: data}, built_with)
