"""From a model directory to a model that may be served: every check, in one place and order."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from ..errors import ModelError, RequestError
from ..schema.answers import Answers, Outputs, agree
from ..schema.requests import RequestParser
from .container import check_zip
from .manifest import ArtifactRecord, Manifest, read_manifest
from .threads import limit_threads

logger = logging.getLogger(__name__)

Batch = Sequence[Sequence[float | None]]
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
    """
    # The runtime imports scikit-learn: that takes seconds, and only a process that loads needs it.
    from .runtimes import scikit_learn  # noqa: PLC0415

    started = time.perf_counter()
    manifest = read_manifest(directory)
    data = _read_artifact(directory / manifest.artifact.file, manifest.artifact, max_bytes)
    check_zip(data, max_bytes)
    note = scikit_learn.check_version(manifest)
    if note:
        logger.warning(note)
    transformers = f"{__package__.partition('.')[0]}.transformers"
    predict = scikit_learn.load(data, manifest, transformers)
    limit_threads()
    check_examples(manifest, predict)
    return LoadedModel(manifest, predict, time.perf_counter() - started)


def check_examples(manifest: Manifest, predict: Predict) -> None:
    """Check that the golden examples of the manifest reproduce.

    Raises ModelError at the first that does not, or if the model fails on it.
    """
    signature, tolerance = manifest.signature, manifest.tolerance
    parser, answers = RequestParser(signature, max_rows=1), Answers(signature)
    for number, example in enumerate(manifest.examples):
        try:
            rows = parser.parse(orjson.dumps({"instances": [example.input]}))
            (found,) = answers(predict(rows.values))
        except RequestError as error:
            raise ModelError(
                f"golden example {number} does not fit the signature. Package the model again."
            ) from error
        except Exception as error:
            raise ModelError(
                f"the model fails on golden example {number} ({type(error).__name__}). "
                "Package the model again."
            ) from error
        if not agree(example.output, found, tolerance.relative, tolerance.absolute):
            raise ModelError(
                f"golden example {number} gives another answer than it did when the model was "
                "packaged. Install the releases named in the manifest, or package it again."
            )


def _read_artifact(path: Path, record: ArtifactRecord, max_bytes: int) -> bytes:
    """Read the artifact once; what is hashed here is what is parsed later."""
    if record.size > max_bytes:
        raise ModelError(
            f"{path.name} has {record.size} bytes; SERVING_MAX_MODEL_BYTES is {max_bytes}. "
            "If you trust it, raise that setting."
        )
    try:
        with path.open("rb") as file:
            data = file.read(record.size + 1)
    except FileNotFoundError:
        raise ModelError(
            f"model missing: the manifest names {path}, which is not there. "
            "Fetch it with `model fetch URL`."
        ) from None
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror}. Make it a readable file."
        ) from None
    if len(data) != record.size:
        raise ModelError(
            f"{path} has not the {record.size} bytes that the manifest says. Fetch it again."
        )
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), record.sha256):
        raise ModelError(f"{path} has not the SHA-256 that the manifest says. Fetch it again.")
    return data
