"""From a fitted estimator to a model directory: `model package`.

Reading a pickle or joblib file runs whatever is in it. That happens here and nowhere else, by the
command of the person who owns the file; the service only ever reads what this writes.
"""

import hashlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from pydantic import ValidationError

from ..artifact.manifest import SCHEMA_VERSION, ArtifactRecord, Example, Manifest, Probes
from ..artifact.refusals import Refusal
from ..artifact.runtimes import scikit_learn
from ..artifact.threads import limit_threads
from ..schema.files import read_rows
from .answers import own_answer
from .directory import publish
from .estimator import NotPackaged, check_may_be_trusted, read_estimator, to_skops
from .infer import infer_signature
from .probes import MOST_ROWS, probe

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
    Raises UsageError, one line with the remedy; nothing is written then.
    """
    limit_threads()
    check_may_be_trusted(trusted_types)
    estimator = read_estimator(file, trusted_types)
    signature, rows = infer_signature(estimator, read_rows(examples))
    data, types = to_skops(estimator, trusted_types)
    golden = _spread(rows, GOLDEN_EXAMPLES)
    answers = [own_answer(estimator, signature, row) for row in golden]
    try:
        served = scikit_learn.load(data, signature, types)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
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
                trusted_types=types,
            ),
            built_with={
                "python": ".".join(map(str, sys.version_info[:3])),
                **{library: installed(library) for library in LIBRARIES},
            },
            signature=signature,
            examples=[
                Example(input=dict(zip(signature.columns, row, strict=True)), output=answer)
                for row, answer in zip(golden, answers, strict=True)
            ],
            probes=Probes(**probe(served, _spread(rows, MOST_ROWS))),
        )
        return publish(directory, manifest, data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise NotPackaged(f"{problem['loc'][0]} cannot be used: {problem['msg']}.") from None
    except Refusal as error:
        raise NotPackaged(f"the model cannot be served as it is: {error.problem}.") from error


def _spread(rows: Sequence[list[float]], most: int) -> Sequence[list[float]]:
    """At most so many rows, from all over the file: it may be sorted."""
    count = min(most, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]
