"""From a fitted estimator to a model directory: `model package`.

Reading a pickle or joblib file runs whatever is in it. That happens here and nowhere else, by the
command of the person who owns the file; the service only ever reads what this writes.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from pydantic import ValidationError

from ..artifact.manifest import SCHEMA_VERSION, ArtifactRecord, Example, Manifest, Probes, Source
from ..artifact.refusals import Refusal
from ..artifact.runtimes import scikit_learn
from ..artifact.threads import limit_threads
from .compare import Present
from .directory import publish
from .estimator import NotPackaged, check_may_be_trusted, read_estimator, to_skops
from .examples import read_examples
from .infer import column_names, columns
from .layouts import GOLDEN_EXAMPLES, Rows, Served, first_that_fits, spread
from .probes import MOST_ROWS, probe
from .project import libraries, releases

ARTIFACT = "model.skops"


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
        served = first_that_fits(
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


def _golden(served: Served) -> list[Example]:
    names = served.signature.columns
    return [
        Example(input=dict(zip(names, served.rows[number], strict=True)), output=served.own[number])
        for number in spread(len(served.rows), GOLDEN_EXAMPLES)
    ]


def _some(rows: Rows, most: int) -> Rows:
    return [rows[number] for number in spread(len(rows), most)]


def _source(file: Path) -> Source:
    with file.open("rb") as opened:
        return Source(file=file.name, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
