"""Writes a model directory, all of it or nothing, and restores the model that it replaced."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson

from ..model_files.load_errors import LoadError
from ..model_files.manifest import MANIFEST, Manifest, read_manifest
from ..runtimes.load import load_directory
from .read_estimator import NotPackaged

PREVIOUS = ".previous"
"""The folder in the model directory that keeps the replaced model."""

STAGING = ".package-"
"""The beginning of the name of a folder in which a new model is written and verified."""

STALE_SECONDS = 3600.0
"""A staging folder that nobody has changed for so long is of a process that was killed."""


def publish(
    directory: Path,
    manifest: Manifest,
    data: bytes,
    transformers: str | None,
    check: Callable[[Path], None],
) -> Path:
    """Write a model into a directory, and keep the old model for `restore`.

    data: the artifact. transformers: name of the module whose classes may be part of the model.
    check: called with the folder of the new model before it replaces the old one; raises an error
    to keep the old one.
    Returns the path of the manifest. Raises NotPackaged or ModelError; `directory` is then
    unchanged.
    """
    document = manifest.model_dump(mode="json", exclude_none=True)
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    artifact = manifest.artifact.file
    return _publish(directory, text, artifact, data, transformers=transformers, check=check)


def restore(directory: Path, transformers: str | None) -> Path:
    """Swap the model in a directory with the one that it replaced.

    Returns the path of the manifest. Raises NotPackaged or ModelError; `directory` is then
    unchanged.
    """
    previous = directory / PREVIOUS
    if not previous.is_dir():
        raise NotPackaged(f"{directory} holds no replaced model: there is no {previous}.")
    artifact = read_manifest(previous).artifact.file
    try:
        text = (previous / MANIFEST).read_bytes()
        data = (previous / artifact).read_bytes()
    except OSError as error:
        raise NotPackaged(f"cannot read {previous}: {error.strerror}.") from error
    return _publish(directory, text, artifact, data, transformers=transformers)


def _publish(
    directory: Path,
    manifest: bytes,
    artifact: str,
    data: bytes,
    *,
    transformers: str | None,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write the files into a staging folder in `directory`, verify them, then move them up."""
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_stale(directory)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=directory) as name:
            staging = Path(name)
            (staging / artifact).write_bytes(data)
            (staging / MANIFEST).write_bytes(manifest)
            load_directory(staging, sys.maxsize, transformers=transformers)
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


def _remove_stale(directory: Path) -> None:
    """Remove the staging folders of processes that were killed."""
    for folder in directory.glob(f"{STAGING}*"):
        with suppress(OSError):  # another process may remove it too
            if folder.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(folder)


def _keep(directory: Path, staging: Path) -> None:
    """Link or copy the old model into the staging folder."""
    try:
        artifact = read_manifest(directory).artifact.file
    except LoadError:
        return  # there is no valid model
    if (directory / artifact).is_file():
        (staging / PREVIOUS).mkdir()
        for name in (MANIFEST, artifact):
            try:
                os.link((directory / name).resolve(), staging / PREVIOUS / name)
            except OSError:  # the file system may have no links
                shutil.copy2(directory / name, staging / PREVIOUS / name)


def _replace(staging: Path, directory: Path, artifact: str) -> None:
    """Replace the model by the staged one, the artifact first: beside the old manifest, the new
    artifact has a wrong checksum, so no service loads a half-replaced model."""
    current = directory / artifact
    current_backup = staging / "current"
    previous = directory / PREVIOUS
    previous_backup = staging / "previous"
    keeps = (staging / PREVIOUS).is_dir()
    if current.is_file():
        current.rename(current_backup)
    try:
        if keeps:
            if previous.is_dir():
                previous.rename(previous_backup)
            (staging / PREVIOUS).rename(previous)
        (staging / artifact).replace(current)
        (staging / MANIFEST).replace(directory / MANIFEST)
    except BaseException:
        current.unlink(missing_ok=True)
        if current_backup.is_file():
            current_backup.rename(current)
        if keeps and not (staging / PREVIOUS).is_dir():
            shutil.rmtree(previous, ignore_errors=True)
        if previous_backup.is_dir():
            previous_backup.rename(previous)
        raise
