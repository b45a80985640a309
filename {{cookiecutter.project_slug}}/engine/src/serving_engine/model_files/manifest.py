"""`manifest.json`: the record of a model, whose files are in the same directory."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from ..schema.signature import Name, Record, Signature
from .load_errors import (
    DirectoryMissing,
    ManifestInvalid,
    ManifestMissing,
    ManifestNewer,
    ManifestUnreadable,
)
from .observed import Observed
from .regular_file import open_regular
from .zip_check import content_hint

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
SCHEMA_VERSION: Final = 1

_NAME = "[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
FilePath = Annotated[str, Field(pattern=rf"^{_NAME}(/{_NAME})" + "{0,9}$")]
"""A path relative to the model directory, with / between its parts. It cannot leave it."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileRecord(Record):
    """A file of a model. Its size and SHA-256 are verified before a parser sees it."""

    file: FilePath
    size: Annotated[int, Field(ge=0)]
    sha256: Digest


class ArtifactRecord(Record):
    """The artifact: one file with its size and SHA-256, or the list of its files."""

    file: FileName | None = None
    format: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,20}$")]
    size: Annotated[int, Field(gt=0)] | None = None
    sha256: Digest | None = None
    files: Annotated[list[FileRecord], Field(max_length=10_000)] | None = None
    trusted_types: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        single = [self.file, self.size, self.sha256]
        if any(value is None for value in single) == (self.files is None):
            raise ValueError("the artifact needs file, size and sha256, or files")
        if self.files is not None:
            if single != [None, None, None]:
                raise ValueError("the artifact has one file or files, not both")
            names = [record.file.casefold() for record in self.files]
            folders = {name[:end] for name in names for end, c in enumerate(name) if c == "/"}
            names.append(MANIFEST)
            if len(set(names)) != len(names) or folders.intersection(names):
                raise ValueError("two files of the artifact have the same name")
        return self

    @property
    def records(self) -> list[FileRecord]:
        """Its files."""
        if self.files is not None:
            return self.files
        return [FileRecord.model_construct(file=self.file, size=self.size, sha256=self.sha256)]

    @property
    def total_size(self) -> int:
        """The bytes of all files."""
        return sum(record.size for record in self.records)


class Example(Record):
    """A golden example: an input by column name and the expected prediction."""

    input: dict[str, Any]
    output: Any


class Source(Record):
    """The file that was packaged."""

    file: str
    sha256: Digest


class Tolerance(Record):
    """Largest accepted difference of a predicted number: absolute + relative * |expected|."""

    relative: Annotated[float, Field(ge=0, le=0.1)] = 1e-6
    absolute: Annotated[float, Field(ge=0)] = 1e-9


class Probes(Record):
    """Properties of the model that were tested when it was packaged.

    thread_safe: the same call gives bit-equal outputs from several threads.
    row_independent: a row gets the same prediction alone and in any batch.
    fork_safe: forked processes may share the loaded model; if not, every worker loads its own.
    """

    thread_safe: bool
    row_independent: bool
    fork_safe: bool = True


class Manifest(Record):
    """All that is known of a model before it is loaded."""

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
    observed: Observed | None = None

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
        with open_regular(path) as file:
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
        _check_version(path, _decode_strictly(data))
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:200] or "the document"
        raise ManifestInvalid(f"{path} is not a valid manifest: {place}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        hint = content_hint(data)
        raise ManifestInvalid(
            f"{path} is not a valid manifest{hint.remark} ({error})", hint.remedy
        ) from None


def _decode_strictly(data: bytes) -> Any:
    """Parse JSON, and reject what parsers interpret differently (RFC 8259, sections 4, 6 and 8)."""
    document = json.loads(
        data.decode(),
        object_pairs_hook=_unique_members,
        parse_float=_finite_number,
        parse_constant=_finite_number,
    )
    orjson.dumps(document)  # rejects integers over 64 bits, lone surrogates and deep nesting
    return document


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"an object has two members named {name[:100]!r}")
        members[name] = value
    return members


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _check_version(path: Path, document: object) -> None:
    """Check the version first: errors about members of a later version would mislead."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int:
        raise ManifestInvalid(f"{path} is not a valid manifest: schema_version is missing")
    if version > SCHEMA_VERSION:
        raise ManifestNewer(
            f"unsupported manifest: {path} has schema_version {version}, "
            f"and this service supports {SCHEMA_VERSION}"
        )
