"""`manifest.json`: what is recorded about a model. The artifact lies beside it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ..errors import ModelError
from ..schema.signature import Name, Record, Signature

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024

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
    artifact: ArtifactRecord
    built_with: dict[str, str]
    signature: Signature
    examples: Annotated[list[Example], Field(min_length=1)]
    tolerance: Tolerance = Tolerance()
    probes: Probes


def read_manifest(directory: Path) -> Manifest:
    """Read and check `manifest.json` of a model directory.

    Raises ModelError if it is missing, unreadable, too large, or not a manifest of version 1.
    """
    path = directory / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(
            f"model missing: there is no {path}. Fetch one with `model fetch URL`, "
            "package your own with `model package FILE`, or set SERVING_MODEL_DIR."
        ) from None
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror}. Make it a readable file."
        ) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ModelError(f"{path} is larger than 1 MiB. Package the model again.")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ModelError(
            f"{path} is not a valid manifest: {place}: {first['msg']}. Package the model again."
        ) from None
