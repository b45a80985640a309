"""From a model directory to a model that may be served: every check, in one place and order.

`refusals.py` has one error for each step.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ..errors import RequestError
from ..schema.answers import Answers, Outputs, agree
from ..schema.requests import RequestParser, Values
from .container import check_zip, looks_like
from .manifest import ArtifactRecord, Manifest, read_manifest
from .refusals import (
    ArtifactMissing,
    ArtifactTooLarge,
    ArtifactUnreadable,
    ExampleDiffers,
    ExampleFails,
    WrongHash,
    WrongSize,
    reason,
)
from .threads import limit_threads

logger = logging.getLogger(__name__)

Batch = Values
Predict = Callable[[Batch], Outputs]
"""Predicts n rows, each in signature order; raises whatever the model raises."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that passed every check.

    seconds: how long loading took.
    """

    manifest: Manifest
    predict: Predict
    seconds: float


def load_model(directory: Path, max_bytes: int) -> LoadedModel:
    """Load and verify the model in `directory`.

    max_bytes: the largest artifact, on disk and expanded.
    Raises ModelError, one line with the remedy, for the first check that fails.
    Links are followed wherever they lead, as Kubernetes' mounts and model caches are made of
    them: what counts is that the bytes are those the manifest names.
    """
    started = time.perf_counter()
    return build_model(*read_model(directory, max_bytes), started)


def read_model(directory: Path, max_bytes: int) -> tuple[Manifest, bytes]:
    """The manifest and the bytes of the artifact, checked as far as no library is needed for it.

    Raises ModelError.
    """
    manifest = read_manifest(directory)
    data = _read_artifact(directory / manifest.artifact.file, manifest.artifact, max_bytes)
    check_zip(data, max_bytes)
    return manifest, data


def build_model(manifest: Manifest, data: bytes, started: float) -> LoadedModel:
    """The model from what was read; the rest of the checks.

    started: when loading began, by `time.perf_counter`.
    Raises ModelError.
    """
    scikit_learn = import_runtime()  # takes seconds, which no error of reading waits for
    note = scikit_learn.check_release(manifest.built_with.get("scikit-learn"))
    if note:
        logger.warning(note)
    scikit_learn.check_libraries(manifest.built_with)
    predict: Any = scikit_learn.load(data, manifest.signature, manifest.artifact.trusted_types)
    limit_threads()
    check_examples(manifest, predict)
    predict.shorten(manifest.example_rows)
    return LoadedModel(manifest, predict, time.perf_counter() - started)


def import_runtime() -> Any:
    """Import what runs the model: scikit-learn, and all that it needs."""
    from .runtimes import scikit_learn  # noqa: PLC0415

    return scikit_learn


def check_examples(manifest: Manifest, predict: Predict) -> None:
    """Check that the golden examples of the manifest reproduce.

    Raises ExampleDiffers at the first that does not; ExampleFails if the signature does not take
    it or the model fails on it.
    """
    signature, tolerance = manifest.signature, manifest.tolerance
    parser, answers = RequestParser(signature, max_rows=1), Answers(signature)
    for number, example in enumerate(manifest.examples):
        try:
            rows = parser.parse(orjson.dumps({"instances": [example.input]}))
            (found,) = answers(predict(rows.values))
        except RequestError as error:
            first = next((f": {item.pointer} {item.message}" for item in error.errors), "")
            raise ExampleFails(
                f"golden example {number} does not fit the signature{first}"
            ) from error
        except Exception as error:
            raise ExampleFails(
                f"the model fails on golden example {number} ({reason(error)})"
            ) from error
        if not agree(example.output, found, tolerance.relative, tolerance.absolute):
            raise ExampleDiffers(
                f"golden example {number} gives another answer than when it was packaged"
            )


def _read_artifact(path: Path, record: ArtifactRecord, max_bytes: int) -> bytes:
    """Read the artifact once; what is hashed here is what is parsed later."""
    if record.size > max_bytes:
        raise ArtifactTooLarge(
            f"{path} should have {record.size} bytes; SERVING_MAX_MODEL_BYTES is {max_bytes}"
        )
    try:
        with path.open("rb") as file:
            data = file.read(record.size + 1)
    except FileNotFoundError:
        raise ArtifactMissing(
            f"model missing: the manifest names {path}, which is not there"
        ) from None
    except OSError as error:
        raise ArtifactUnreadable(f"cannot read {path}: {error.strerror}") from None
    except (MemoryError, OverflowError):
        raise ArtifactTooLarge(
            f"{path} should have {record.size} bytes, more than this process can hold",
            remedy="Give it more memory.",
        ) from None
    if len(data) != record.size:
        found = "more" if len(data) > record.size else len(data) or "none"
        raise WrongSize(f"{path} should have {record.size} bytes and has {found}{looks_like(data)}")
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), record.sha256):
        raise WrongHash(f"{path} has not the SHA-256 that the manifest names{looks_like(data)}")
    return data
