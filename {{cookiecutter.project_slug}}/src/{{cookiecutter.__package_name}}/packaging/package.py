"""From a fitted estimator to a model directory: `model package`.

Reading a pickle or joblib file runs whatever is in it. That happens here and nowhere else, by the
command of the person who owns the file; the service only ever reads what this writes.
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import orjson
import skops.io

from ..artifact.load import check_examples, load_model
from ..artifact.manifest import MANIFEST, ArtifactRecord, Example, Manifest, Probes
from ..artifact.runtimes import scikit_learn
from ..artifact.threads import limit_threads
from ..errors import UsageError
from ..schema.answers import Answers
from ..schema.files import read_rows
from .estimator import read_estimator
from .infer import infer_signature
from .probes import probe

ARTIFACT = "model.skops"
GOLDEN_EXAMPLES = 8
LIBRARIES = ("scikit-learn", "numpy", "skops")


def package(
    file: Path,
    examples: Path,
    directory: Path,
    *,
    name: str,
    version: str,
    description: str = "",
    license: str = "",  # noqa: A002 - the manifest's own word
    trusted_types: Sequence[str] = (),
) -> Path:
    """Write a model directory from an estimator file and rows of examples.

    What was in `directory` stays until the new model has passed every check of `serve`.
    Raises UsageError or ModelError, one line with the remedy; nothing is written then.
    """
    limit_threads()
    estimator = read_estimator(file)
    rows = read_rows(examples)
    signature = infer_signature(estimator, rows)
    data = skops.io.dumps(estimator)
    untrusted = set(skops.io.get_untrusted_types(data=data))
    needed = sorted(untrusted - set(trusted_types))
    if needed:
        asked = " ".join(f"--trust {kind}" for kind in needed)
        raise UsageError(f"the model holds types that need your review; then add: {asked}")
    predict = scikit_learn.Estimator(estimator, signature)
    values = [[row[column] for column in signature.columns] for row in rows]
    golden = rows[:: max(1, len(rows) // GOLDEN_EXAMPLES)][:GOLDEN_EXAMPLES]
    outputs = predict([[row[column] for column in signature.columns] for row in golden])
    answers = Answers(signature)(outputs)
    manifest = Manifest(
        schema_version=1,
        name=name,
        version=version,
        description=description,
        license=license,
        created=datetime.now(UTC).replace(microsecond=0),
        artifact=ArtifactRecord(
            file=ARTIFACT,
            format="skops",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            trusted_types=sorted(untrusted),
        ),
        built_with={
            "python": ".".join(map(str, sys.version_info[:3])),
            **{library: installed(library) for library in LIBRARIES},
        },
        signature=signature,
        examples=[
            Example(input={column: row[column] for column in signature.columns}, output=answer)
            for row, answer in zip(golden, answers, strict=True)
        ],
        probes=Probes(**probe(predict, values)),
    )
    check_examples(manifest, predict)
    return _write(directory, manifest, data)


def _write(directory: Path, manifest: Manifest, data: bytes) -> Path:
    """Write beside `directory`, load what was written as `serve` would, then move it there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        (staging / ARTIFACT).write_bytes(data)
        document: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (staging / MANIFEST).write_bytes(text)
        load_model(staging, max_bytes=len(data))
        directory.mkdir(exist_ok=True)
        # The artifact first: with the old manifest it is refused by its hash, never half-trusted.
        for name in (ARTIFACT, MANIFEST):
            (staging / name).replace(directory / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory / MANIFEST
