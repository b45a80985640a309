"""Writes a model directory: all of it or nothing, and what was there can be restored."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from ..artifact.load import load_model
from ..artifact.manifest import MANIFEST, Manifest, read_manifest
from ..artifact.refusals import Refusal
from .estimator import NotPackaged

PREVIOUS = ".previous"
"""Where the model that was replaced is kept, in the model directory."""


def publish(
    directory: Path, manifest: Manifest, data: bytes, check: Callable[[Path], None]
) -> Path:
    """Write a model into a directory and keep the one that was there.

    check: given the folder of the new model before it replaces the old one; raises to keep that.
    Returns the path of the manifest. Raises NotPackaged or ModelError, and `directory` is as it
    was before.
    """
    document: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return _publish(directory, text, manifest.artifact.file, data, check)


def restore(directory: Path) -> Path:
    """Exchange the model in a directory with the one that it replaced.

    Returns the path of the manifest. Raises NotPackaged or ModelError, and `directory` is as it
    was before.
    """
    kept = directory / PREVIOUS
    if not kept.is_dir():
        raise NotPackaged(f"{directory} keeps no model that was replaced: there is no {kept}.")
    artifact = read_manifest(kept).artifact.file
    try:
        text, data = (kept / MANIFEST).read_bytes(), (kept / artifact).read_bytes()
    except OSError as error:
        raise NotPackaged(f"cannot read {kept}: {error.strerror}.") from error
    return _publish(directory, text, artifact, data, lambda _: None)


def _publish(
    directory: Path, manifest: bytes, artifact: str, data: bytes, check: Callable[[Path], None]
) -> Path:
    """Write into a folder in `directory`, load it as `serve` would, then move the files up."""
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".package-", dir=directory) as name:
            staging = Path(name)
            (staging / artifact).write_bytes(data)
            (staging / MANIFEST).write_bytes(manifest)
            load_model(staging, max_bytes=sys.maxsize)
            check(staging)
            _keep(directory, staging)
            _replace(staging, directory, artifact)
    except BaseException as error:
        for path in created:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise NotPackaged(f"cannot write {directory}: {error.strerror}.") from error
        raise
    return directory / MANIFEST


def _keep(directory: Path, staging: Path) -> None:
    """Put the model that will be replaced into the staging folder, where it is whole."""
    try:
        artifact = read_manifest(directory).artifact.file
    except Refusal:
        return  # there is none, or none that could be restored
    if (directory / artifact).is_file():
        (staging / PREVIOUS).mkdir()
        for name in (MANIFEST, artifact):
            try:
                os.link((directory / name).resolve(), staging / PREVIOUS / name)
            except OSError:  # not every file system has links
                shutil.copy2(directory / name, staging / PREVIOUS / name)


def _replace(staging: Path, directory: Path, artifact: str) -> None:
    """The artifact first: with the old manifest it is refused by its hash, never half-trusted."""
    current, old = directory / artifact, staging / "old"
    kept, older, keeps = directory / PREVIOUS, staging / "older", (staging / PREVIOUS).is_dir()
    if current.is_file():
        current.rename(old)
    try:
        if keeps:
            if kept.is_dir():
                kept.rename(older)
            (staging / PREVIOUS).rename(kept)
        (staging / artifact).replace(current)
        (staging / MANIFEST).replace(directory / MANIFEST)
    except BaseException:
        current.unlink(missing_ok=True)
        if old.is_file():
            old.rename(current)
        if keeps and not (staging / PREVIOUS).is_dir():
            shutil.rmtree(kept, ignore_errors=True)
        if older.is_dir():
            older.rename(kept)
        raise
