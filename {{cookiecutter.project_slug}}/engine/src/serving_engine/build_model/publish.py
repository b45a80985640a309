"""Writes a model directory, all of it or nothing, and restores the model that it replaced."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson

from ..model_files.load_errors import LoadError
from ..model_files.manifest import MANIFEST, Manifest, read_manifest
from ..runtimes.base import OwnerCode
from ..runtimes.load import load_directory
from .errors import NotPackaged

PREVIOUS = ".previous"
"""The folder in the model directory that keeps the replaced model."""

STAGING = ".package-"
"""The beginning of the name of a folder in which a new model is written and verified."""

STALE_SECONDS = 3600.0
"""A staging folder that nobody has changed for so long is of a process that was killed."""


def publish(
    directory: Path,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    code: OwnerCode,
    check: Callable[[Path], None],
) -> Path:
    """Write a model into a directory, and keep the old model for `restore`.

    files: the content of each file of the artifact, or where it is, by its path in the directory.
    check: called with the folder of the new model before it replaces the old one; raises an error
    to keep the old one.
    Returns the path of the manifest. Raises NotPackaged or ModelError; `directory` is then
    unchanged.
    """
    document = manifest.model_dump(mode="json", exclude_none=True)
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return _publish(directory, text, files, code, check)


def restore(directory: Path, code: OwnerCode) -> Path:
    """Swap the model in a directory with the one that it replaced.

    Returns the path of the manifest. Raises NotPackaged or ModelError; `directory` is then
    unchanged.
    """
    previous = directory / PREVIOUS
    if not previous.is_dir():
        raise NotPackaged(f"{directory} holds no replaced model: there is no {previous}.")
    files = {name: previous / name for name in _file_names(previous)}
    try:
        text = (previous / MANIFEST).read_bytes()
    except OSError as error:
        raise NotPackaged(f"cannot read {previous}: {error.strerror}.") from error
    return _publish(directory, text, files, code)


def _publish(
    directory: Path,
    manifest: bytes,
    files: Mapping[str, bytes | Path],
    code: OwnerCode,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write the files into a staging folder in `directory`, verify them, then move them up."""
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_stale(directory)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=directory) as folder:
            staging = Path(folder)
            for name, content in files.items():
                _write(staging / name, content)
            (staging / MANIFEST).write_bytes(manifest)
            load_directory(staging, sys.maxsize, code)
            check(staging)
            _keep(directory, staging)
            _replace(staging, directory, files)
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


def _write(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)


def _file_names(directory: Path) -> list[str]:
    """The files of the model in a directory. Raises LoadError."""
    return [record.file for record in read_manifest(directory).artifact.records]


def _keep(directory: Path, staging: Path) -> None:
    """Link or copy the old model into the staging folder."""
    names = _old_names(directory)
    if names and all((directory / name).is_file() for name in names):
        for name in (MANIFEST, *names):
            kept = staging / PREVIOUS / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link((directory / name).resolve(), kept)
            except OSError:  # the file system may have no links
                shutil.copy2(directory / name, kept)


def _replace(staging: Path, directory: Path, names: Iterable[str]) -> None:
    """Replace the model by the staged one, the manifest last: beside the old manifest, a new file
    has a wrong checksum, so no service loads a half-replaced model."""
    replaced = staging / "replaced"
    kept = [PREVIOUS] if (staging / PREVIOUS).is_dir() else []
    old = [record for record in _old_names(directory) if record not in {*names}]
    with ExitStack() as undo:
        for number, name in enumerate([*kept, *names, MANIFEST, *old]):
            current = directory / name
            if current.exists():
                backup = replaced / str(number)
                replaced.mkdir(exist_ok=True)
                # The old manifest stays until the new one takes its place.
                (shutil.copy2 if name == MANIFEST else os.rename)(current, backup)
                undo.callback(_move_back, backup, current)
            if (staging / name).exists():
                current.parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(current)
                undo.callback(_move_back, current, staging / name)
        undo.pop_all()
    for name in old:
        with suppress(OSError):  # it still holds files of the owner's
            (directory / name).parent.rmdir()


def _old_names(directory: Path) -> list[str]:
    """The files of the model that is replaced; none if there is no valid one."""
    try:
        return _file_names(directory)
    except LoadError:
        return []


def _move_back(path: Path, to: Path) -> None:
    with suppress(OSError):
        path.rename(to)
