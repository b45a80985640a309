"""`manifest.json`: what is recorded about a model. The artifact lies beside it."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field, ValidationError

from ..schema.signature import Name, Record, Signature
from .container import looks_like
from .refusals import (
    DirectoryMissing,
    ManifestInvalid,
    ManifestMissing,
    ManifestNewer,
    ManifestUnreadable,
)

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
SCHEMA_VERSION: Final = 1

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class ArtifactRecord(Record):
    """The artifact file: its bytes are checked against this before anything parses them."""

    file: FileName
    format: Literal["skops"]
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    trusted_types: list[str] = []


class Example(Record):
    """A golden example: an input by column name and the prediction that it must give."""

    input: dict[str, Any]
    output: Any


class Source(Record):
    """The file that was packaged."""

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Tolerance(Record):
    """How far a number may be from its golden example: absolute + relative * |expected|."""

    relative: Annotated[float, Field(ge=0, le=0.1)] = 1e-6
    absolute: Annotated[float, Field(ge=0)] = 1e-9


class Probes(Record):
    """What was found when the model was packaged.

    thread_safe: the same call gives bit-equal results from several threads.
    row_independent: a row gets the same answer alone and in any batch.
    """

    thread_safe: bool
    row_independent: bool


class Manifest(Record):
    """Everything the service knows of its model before it loads it."""

    schema_version: Literal[1]
    name: Name
    version: Name
    description: str = ""
    license: str = ""
    created: Annotated[datetime, Field(strict=False)]
    source: Source | None = None
    artifact: ArtifactRecord
    built_with: dict[Name, Name]
    signature: Signature
    examples: Annotated[list[Example], Field(min_length=1)]
    tolerance: Tolerance = Tolerance()
    probes: Probes

    @property
    def example_rows(self) -> list[list[Any]]:
        """The inputs of the golden examples, each in signature order."""
        columns = self.signature.columns
        return [[example.input[name] for name in columns] for example in self.examples]


def read_manifest(directory: Path) -> Manifest:
    """Read and check `manifest.json` of a model directory.

    Raises DirectoryMissing, ManifestMissing, ManifestUnreadable, ManifestNewer or ManifestInvalid.
    """
    path = directory / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if not directory.is_dir():
            raise DirectoryMissing(f"model missing: there is no directory {directory}") from None
        raise ManifestMissing(f"model missing: there is no {path}") from None
    except OSError as error:
        raise ManifestUnreadable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"{path} is larger than 1 MiB")
    try:
        _check_version(path, _decode(data))
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:200] or "the document"
        raise ManifestInvalid(f"{path} is not a valid manifest: {place}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ManifestInvalid(
            f"{path} is not a valid manifest{looks_like(data)}: {error}"
        ) from None


def _decode(data: bytes) -> Any:
    """Parse JSON that every reader understands alike (RFC 8259, sections 4, 6 and 8)."""
    document = json.loads(
        data.decode(),
        object_pairs_hook=_members,
        parse_float=_number,
        parse_constant=_number,
    )
    orjson.dumps(document)  # refuses integers over 64 bits, lone surrogates, endless nesting
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"an object has two members {name[:100]!r}")
        members[name] = value
    return members


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _check_version(path: Path, document: Any) -> None:
    """Before all else: a later manifest has other members, and naming those would not help."""
    found = document.get("schema_version") if isinstance(document, dict) else None
    if type(found) is not int:
        raise ManifestInvalid(f"{path} is not a valid manifest: it names no schema_version")
    if found > SCHEMA_VERSION:
        raise ManifestNewer(
            f"{path} has schema_version {found}, and this service reads {SCHEMA_VERSION}"
        )
