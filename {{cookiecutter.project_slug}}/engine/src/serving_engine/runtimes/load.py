"""Loads a model directory: all checks, in their order.

`model_files/load_errors.py` has one error for each check.
"""

import logging
import time
from importlib.util import find_spec
from pathlib import Path

import orjson

from ..blas_threads import limit_threads
from ..errors import RequestError
from ..model_files.load_errors import GoldenExampleFailed, GoldenExampleMismatch
from ..model_files.manifest import Manifest, read_manifest
from ..schema.predictions import PredictionFormatter, describe_difference, predictions_agree
from ..schema.request_parser import RequestParser
from ..settings import ServingSettings
from ..text import reason
from .base import LoadedModel, ModelFiles, OwnerCode, Predict
from .registry import find_runtime

logger = logging.getLogger(__name__)


def load_model(settings: ServingSettings) -> LoadedModel:
    """Load and verify the model in `settings.model_dir`.

    Raises ModelError, one line with the remedy, at the first check that fails.
    """
    return load_directory(settings.model_dir, settings.max_model_bytes, owner_code(settings))


def load_shadow(settings: ServingSettings) -> LoadedModel:
    """Load and verify the model in `settings.shadow_model_dir`. Raises ModelError."""
    directory = settings.shadow_model_dir or settings.model_dir
    return load_directory(directory, settings.max_model_bytes, owner_code(settings))


def owner_code(settings: ServingSettings) -> OwnerCode:
    """The owner's code that a model may need."""
    model = _beside(settings, "model")
    return OwnerCode(
        settings.transformers or _beside(settings, "transformers"),
        settings.model_class or (model and f"{model}:Model"),
    )


def _beside(settings: ServingSettings, name: str) -> str | None:
    """The full name of a module in the package of the settings' class, None if there is none."""
    package = type(settings).__module__.rpartition(".")[0]
    module = f"{package}.{name}"
    return module if package and find_spec(module) else None


def load_directory(
    directory: Path,
    max_bytes: int,
    code: OwnerCode = OwnerCode(),  # noqa: B008 - it never changes
) -> LoadedModel:
    """Load and verify the model in a directory.

    max_bytes: largest artifact, on disk and expanded. Raises ModelError.
    """
    started = time.perf_counter()
    manifest, files = read_model(directory, max_bytes)
    return build_model(manifest, files, started, code)


def read_model(directory: Path, max_bytes: int) -> tuple[Manifest, ModelFiles]:
    """Read the manifest and the artifact, with all checks that need no library of the runtime.

    max_bytes: largest artifact, on disk and expanded. Raises ModelError.
    """
    manifest = read_manifest(directory)
    runtime = find_runtime(manifest.artifact.format)
    return manifest, runtime.read(directory, manifest.artifact, max_bytes)


def build_model(
    manifest: Manifest, files: ModelFiles, started: float, code: OwnerCode
) -> LoadedModel:
    """Build the model from the results of `read_model`, with all other checks.

    started: the time of `time.perf_counter` when loading began. Raises ModelError.
    """
    runtime = find_runtime(manifest.artifact.format)
    note = runtime.check_environment(manifest.built_with)
    if note:
        logger.warning(note)
    predictor = runtime.load(files, manifest, code)
    limit_threads()
    check_examples(manifest, predictor)
    predictor.use_fast_path(manifest.example_rows)
    return LoadedModel(manifest, predictor, time.perf_counter() - started, predictor.bounded)


def check_examples(manifest: Manifest, predict: Predict) -> None:
    """Check that the model reproduces the golden examples of the manifest.

    Raises GoldenExampleMismatch at the first wrong prediction, and GoldenExampleFailed if an
    example does not fit the signature or the model raises an exception.
    """
    tolerance = manifest.tolerance
    parser = RequestParser(manifest.signature, max_rows=1)
    formatter = PredictionFormatter(manifest.signature)
    for number, example in enumerate(manifest.examples):
        try:
            rows = parser.parse(orjson.dumps({"instances": [example.input]}))
            (prediction,) = formatter(predict(rows.values))
        except RequestError as error:
            first = next((f": {item.pointer} {item.message}" for item in error.errors), "")
            raise GoldenExampleFailed(
                f"golden example {number} does not fit the signature{first}"
            ) from error
        except Exception as error:
            raise GoldenExampleFailed(
                f"the model fails on golden example {number} ({reason(error)})"
            ) from error
        if not predictions_agree(
            example.output, prediction, tolerance.relative, tolerance.absolute
        ):
            raise GoldenExampleMismatch(
                f"golden example {number}: {describe_difference(example.output, prediction)}"
            )
