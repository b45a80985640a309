"""Reads the files of a model once and verifies their checksums: the same bytes are loaded."""

import hashlib
import hmac
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .load_errors import (
    ArtifactMissing,
    ArtifactTooLarge,
    ArtifactUnreadable,
    ChecksumMismatch,
    InvalidArtifact,
    NoRoomForCopies,
    SizeMismatch,
)
from .manifest import ArtifactRecord, FileRecord
from .regular_file import open_regular
from .zip_check import content_hint

CHUNK = 1024 * 1024
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


def read_artifact(path: Path, record: FileRecord, max_bytes: int) -> bytes:
    """Read a file and verify the size and the SHA-256 that the manifest records.

    Links are followed, also out of the model directory, as the mounts of Kubernetes and model
    caches consist of them: the checksum decides. max_bytes: largest artifact.
    Raises ArtifactTooLarge, ArtifactMissing, ArtifactUnreadable, SizeMismatch or ChecksumMismatch.
    """
    _check_size(str(path), record.size, max_bytes)
    try:
        with _open(path) as file:
            data = file.read(record.size + 1)
    except OSError as error:
        raise ArtifactUnreadable(f"cannot read {path}: {error.strerror}") from None
    except (MemoryError, OverflowError):
        raise ArtifactTooLarge(
            f"out of memory: {path} should have {record.size} bytes",
            remedy="Give the process more memory.",
        ) from None
    verify_content(path, record, data, len(data), hashlib.sha256(data).hexdigest())
    return data


def read_only_file(directory: Path, artifact: ArtifactRecord, max_bytes: int) -> bytes:
    """Read the artifact of a format with one file. Raises the errors of `read_artifact`."""
    if len(artifact.records) != 1:
        raise InvalidArtifact(f"a model of the format {artifact.format} has one file")
    (record,) = artifact.records
    return read_artifact(directory / record.file, record, max_bytes)


class VerifiedCopies:
    """Private copies of a model's files: what is loaded is what was verified.

    `folder` gives them as files once; afterwards they are gone. After `detach` they are open files
    without names, which forked processes inherit, and `folder` works in each of these.
    """

    def __init__(self, sources: Mapping[str, Path], records: Sequence[FileRecord]) -> None:
        """Copy files. sources: where they are, by their path in the model directory.

        Raises the errors of `read_artifact`, and NoRoomForCopies.
        """
        self._open: dict[str, BinaryIO] | None = None
        self._path = private_folder()
        self._finalizer = weakref.finalize(self, _remove, self._path, os.getpid())
        try:
            for record in records:
                _copy(sources[record.file], record, self._path / record.file)
        except BaseException:
            self._finalizer()
            raise
        self._names = [record.file for record in records]

    @classmethod
    def of_directory(
        cls, directory: Path, artifact: ArtifactRecord, max_bytes: int
    ) -> "VerifiedCopies":
        """Copy the files of a model directory. max_bytes: largest sum of their sizes."""
        _check_size(str(directory), artifact.total_size, max_bytes)
        records = artifact.records
        return cls({record.file: directory / record.file for record in records}, records)

    def detach(self) -> None:
        """Keep the copies as open files, and delete the folder."""
        self._open = {name: (self._path / name).open("rb") for name in self._names}
        self._finalizer()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The folder with the copies, which is deleted at the end of the block.

        What a process has mapped into its memory stays readable.
        """
        if self._open is None:
            try:
                yield self._path
            finally:
                self._finalizer()
            return
        path = private_folder()
        try:
            for name, file in self._open.items():
                target = path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # Not through the file's position, which all processes share.
                shutil.copyfile(f"/proc/self/fd/{file.fileno()}", target)
            yield path
        finally:
            _remove(path, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    """Delete a folder in the process that made it: a forked one does not own it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder() -> Path:
    """A new folder of this user; in shared memory where the file system is read-only."""
    try:
        return Path(tempfile.mkdtemp(prefix="model-"))
    except OSError as error:
        if os.access(SHARED_MEMORY, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="model-", dir=SHARED_MEMORY))
        raise NoRoomForCopies(f"no folder for temporary files: {error.strerror}") from None


def _copy(path: Path, record: FileRecord, target: Path) -> None:
    digest = hashlib.sha256()
    size = 0
    first = b""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open(path) as file, target.open("xb") as copy:
            while size <= record.size and (chunk := file.read(CHUNK)):
                first = first or chunk
                size += len(chunk)
                digest.update(chunk)
                copy.write(chunk)
    except OSError as error:
        raise NoRoomForCopies(f"cannot copy {path} to {target.parent}: {error.strerror}") from None
    verify_content(path, record, first, size, digest.hexdigest())


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactMissing(
            f"model missing: the manifest names {path}, which does not exist"
        ) from None
    except OSError as error:
        raise ArtifactUnreadable(f"cannot read {path}: {error.strerror}") from None


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ArtifactTooLarge(
            f"{name} should have {size} bytes; SERVING_MAX_MODEL_BYTES is {max_bytes}"
        )


def verify_content(path: Path, record: FileRecord, data: bytes, size: int, digest: str) -> None:
    """Raise SizeMismatch or ChecksumMismatch. data: its first bytes."""
    hint = content_hint(data)
    if size != record.size:
        actual = "more" if size > record.size else size or "none"
        raise SizeMismatch(
            f"size mismatch: {path} should have {record.size} bytes and has {actual}{hint.remark}",
            hint.remedy,
        )
    if not hmac.compare_digest(digest, record.sha256):
        raise ChecksumMismatch(
            f"checksum mismatch: the SHA-256 of {path} is not the manifest's{hint.remark}",
            hint.remedy,
        )
