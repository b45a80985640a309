"""Writes a model directory: all of it or nothing, and what was there stays until it is replaced."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from ..artifact.load import load_model
from ..artifact.manifest import MANIFEST, Manifest
from .estimator import NotPackaged


def publish(directory: Path, manifest: Manifest, data: bytes) -> Path:
    """Write into a folder in `directory`, load it as `serve` would, then move the files up.

    Returns the path of the manifest. Raises NotPackaged or ModelError, and `directory` is as it
    was before.
    """
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".package-", dir=directory) as name:
            staging = Path(name)
            (staging / manifest.artifact.file).write_bytes(data)
            document: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
            text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            (staging / MANIFEST).write_bytes(text)
            load_model(staging, max_bytes=sys.maxsize)
            _replace(staging, directory, manifest.artifact.file)
    except BaseException as error:
        for path in created:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise NotPackaged(f"cannot write {directory}: {error.strerror}.") from error
        raise
    return directory / MANIFEST


def _replace(staging: Path, directory: Path, artifact: str) -> None:
    """The artifact first: with the old manifest it is refused by its hash, never half-trusted."""
    current, old = directory / artifact, staging / "old"
    if current.is_file():
        current.rename(old)
    try:
        (staging / artifact).replace(current)
        (staging / MANIFEST).replace(directory / MANIFEST)
    except BaseException:
        current.unlink(missing_ok=True)
        if old.is_file():
            old.rename(current)
        raise
