"""Builds a model directory from the owner's files: the command `model package`.

Reading a pickle or joblib file runs the code in it. Only this command does that, for the owner of
the file; the service reads only the model directory that the command writes.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from pydantic import ValidationError

from ..blas_threads import limit_threads
from ..distribution import add_command
from ..model_files.load_errors import LoadError
from ..model_files.manifest import (
    SCHEMA_VERSION,
    Example,
    Manifest,
    Probes,
    Source,
    read_manifest,
)
from ..runtimes.base import OwnerCode
from ..runtimes.registry import find_runtime
from .builder import BuildOptions, Built, Trust
from .candidate import GOLDEN_EXAMPLES, Candidate, spread
from .compare import CurrentModel
from .errors import NotPackaged
from .observe import observe
from .pickles import PICKLES
from .probes import MAX_ROWS, probe
from .publish import publish
from .report import closed_columns

BUILDERS = {"scikit-learn": "build_scikit_learn", "onnx": "build_onnx", "python": "build_python"}
"""The module with the function `build(options)` for each runtime."""


def package(
    file: Path | Sequence[Path],
    examples: Path | str,
    directory: Path,
    *,
    name: str,
    version: str,
    description: str = "",
    license: str = "",  # noqa: A002 - the name of the manifest's field
    trust: Trust,
    runtime: str = "scikit-learn",
    model_class: str | None = None,
    chosen: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    compare: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write a model directory from the files of a model and rows of examples.

    trust: the types that may be part of the model. runtime: one of BUILDERS.
    model_class: see `OwnerCode`. chosen: the columns of the examples that the model takes. outputs:
    names of its outputs, if it has several. classes: see `BuildOptions`. compare: report how the
    predictions differ from those of the current model. progress: called with a line about each
    step. check: called with the folder of the new model before it replaces the old one; raises an
    error to keep the old one.
    The old model stays until the new one has passed every check of `serve`, and is then kept for
    `restore`. Returns the path of the manifest.
    Raises UsageError, one line with the remedy; nothing is written then.
    """
    limit_threads()
    code = OwnerCode(trust.transformers, model_class)
    files = [file] if isinstance(file, Path) else list(file)
    current = CurrentModel(directory, code) if compare else None
    options = BuildOptions(files, examples, code, trust, chosen, outputs, classes, progress)
    try:
        built = _builder(runtime)(options)
        served = built.candidate
        for line in closed_columns(served.signature):
            progress(line)
        if current is not None:
            progress(current.differences(served.signature, served.predict, built.rows, served.rows))
        probes = _probes(built, progress)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            version=version,
            description=description,
            license=license,
            created=datetime.now(UTC).replace(microsecond=0),
            source=_source(files),
            artifact=built.artifact,
            built_with={"python": ".".join(map(str, sys.version_info[:3])), **built.built_with},
            signature=served.signature,
            examples=_golden_examples(served),
            tolerance=served.tolerance,
            probes=probes,
            observed=observe(served, probes),
        )
        progress("verifying the new model")
        return publish(directory, manifest, built.files, code, check)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = problem["loc"][0]
        raise NotPackaged(
            f"{field} is invalid: {problem['msg']}. Choose another: --{field}"
        ) from None
    except LoadError as error:
        raise NotPackaged(f"the model cannot be served: {error.problem}.") from error


def default_runtime(files: Sequence[Path], directory: Path, code: OwnerCode) -> str:
    """The runtime of the model that is in a directory.

    Without one, it is `python` if the owner has a class of a model and no transformers, else it
    depends on the suffix of the files.
    """
    try:
        return find_runtime(read_manifest(directory).artifact.format).name
    except LoadError:
        if code.model_class and not code.transformers:
            return "python"
        suffixes = {file.suffix.lower() for file in files}
        if suffixes == {".onnx"}:
            return "onnx"
        return "scikit-learn" if suffixes & {*PICKLES, ".skops"} else "python"


def _builder(runtime: str) -> Callable[[BuildOptions], Built]:
    try:
        build: Callable[[BuildOptions], Built] = import_module(
            f".{BUILDERS[runtime]}", __package__
        ).build
    except ModuleNotFoundError as error:
        raise NotPackaged(
            f"the runtime {runtime} needs {error.name}, which is not installed. "
            f"Add it: {add_command((error.name or runtime).partition('.')[0])}"
        ) from None
    return build


def _probes(built: Built, progress: Callable[[str], None]) -> Probes:
    progress("testing the model with several threads and with batches")
    served = built.candidate
    rows = [served.rows[number] for number in spread(len(served.rows), MAX_ROWS)]
    results = probe(served.predict, rows, served.signature)
    results["thread_safe"] &= built.thread_safe
    return Probes(**results, fork_safe=built.fork_safe)


def _golden_examples(served: Candidate) -> list[Example]:
    names = served.signature.columns
    return [
        Example(
            input=dict(zip(names, served.rows[number], strict=True)),
            output=served.reference_predictions[number],
        )
        for number in spread(len(served.rows), GOLDEN_EXAMPLES)
    ]


def _source(files: Sequence[Path]) -> Source | None:
    """The record of the packaged file, if it is one: the artifact records several."""
    if len(files) != 1 or not files[0].is_file():
        return None
    with files[0].open("rb") as opened:
        return Source(file=files[0].name, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
