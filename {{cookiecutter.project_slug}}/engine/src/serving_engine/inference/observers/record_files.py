"""The files of the record: complete rows, rotated, readable by their owner alone.

Several workers write into one directory, each its own file, and delete the oldest files together.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from ...schema.signature import Label, Signature, class_names

if sys.platform != "win32":
    import fcntl

SUFFIXES = {".jsonl", ".parquet"}
PREFIX = "record-"
MAX_BUFFER = 16 * 1024 * 1024
"""Most bytes of rows in memory before a Parquet file is written."""
_BLOCK = 64 * 1024
_OWNER_ONLY = 0o600


class RecordWriter(Protocol):
    """Writes rows into the files of the record."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows. Raises OSError; the files then hold complete rows alone."""

    def close(self) -> None:
        """Write what is not written yet. Raises OSError."""


class RecordDirectory:
    """The directory of the record. files: most files in it."""

    def __init__(self, path: Path, files: int) -> None:
        self._path = path
        self._files = files

    def create(self, suffix: str) -> tuple[BinaryIO, Path]:
        """Create the next file of this process. Raises OSError."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            name = f"{PREFIX}{now}-{os.getpid()}{suffix}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
            with suppress(FileExistsError):
                path = self._path / name
                return os.fdopen(os.open(path, flags, _OWNER_ONLY), "r+b", buffering=0), path

    def resume(self, max_bytes: int) -> BinaryIO | None:
        """The newest file of JSON Lines that has room and that no other process writes.

        The rest of a line at its end, as a kill may leave it, is removed. Raises OSError.
        """
        if sys.platform == "win32":
            return None
        for path in sorted(self._path.glob(f"{PREFIX}*.jsonl"), reverse=True):
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW), "r+b", 0)
            if os.fstat(file.fileno()).st_size < max_bytes and lock(file):
                remove_partial_line(file)
                return file
            file.close()
        return None

    def delete_oldest(self, own: Path | None = None) -> None:
        """Delete the files beyond the limit: those that were written to least recently."""
        found: list[tuple[float, Path]] = []
        for path in self._path.glob(f"{PREFIX}*"):
            if path.suffix in SUFFIXES and path != own:
                with suppress(OSError):  # another worker may delete it too
                    found.append((path.stat().st_mtime, path))
        kept = self._files - (own is not None)
        for _, path in sorted(found)[: max(0, len(found) - kept)]:
            with suppress(OSError):
                path.unlink()


class JSONLinesWriter:
    """A row on each line; a file is at most `max_bytes` long, unless one row is longer."""

    def __init__(self, directory: RecordDirectory, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """See `RecordWriter`."""
        lines: list[bytes] = []
        size = 0
        for row in rows:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            if size and self._size + size + len(line) > self._max_bytes:
                self._append(b"".join(lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            time.sleep(0)  # the event loop must not wait for this thread
        if lines:
            self._append(b"".join(lines))

    def close(self) -> None:
        """See `RecordWriter`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, data: bytes) -> None:
        file = self._open(len(data))
        written = 0
        try:
            while written < len(data):
                written += file.write(data[written:]) or 0
        except OSError:
            os.ftruncate(file.fileno(), self._size)
            raise
        self._size += written

    def _open(self, room: int) -> BinaryIO:
        """The file for the next bytes."""
        if self._file is not None:
            deleted = (
                os.fstat(self._file.fileno()).st_nlink == 0
            )  # by another worker, as the oldest
            if not deleted and self._size + room <= self._max_bytes:
                return self._file
            if not deleted and not self._size:
                return self._file
            self.close()
        else:
            self._file = self._directory.resume(self._max_bytes - room)
        if self._file is None:
            self._file, path = self._directory.create(".jsonl")
            lock(self._file)
            self._directory.delete_oldest(path)
        self._size = os.fstat(self._file.fileno()).st_size
        return self._file


class ParquetWriter:
    """Rows in columns; a file appears when it is complete.

    signature: of the model. hashed: the names of the columns whose values are texts, not of the
    column's type. without: the names of those that are left out. max_bytes: of a file.
    """

    def __init__(
        self,
        directory: RecordDirectory,
        max_bytes: int,
        signature: Signature,
        *,
        hashed: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        import pyarrow  # noqa: PLC0415 - part of an extra
        import pyarrow.parquet  # noqa: PLC0415

        self._arrow: Any = pyarrow
        self._parquet: Any = pyarrow.parquet
        self._directory = directory
        self._max_bytes = min(max_bytes, MAX_BUFFER)
        self._schema = record_schema(pyarrow, signature, hashed, without)
        self._batches: list[Any] = []
        self._bytes = 0

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """See `RecordWriter`."""
        batch = self._arrow.RecordBatch.from_pylist(list(rows), schema=self._schema)
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= self._max_bytes:
            self.close()

    def close(self) -> None:
        """See `RecordWriter`."""
        batches, self._batches, self._bytes = self._batches, [], 0
        if not batches:
            return
        file, partial = self._directory.create(".parquet.partial")
        try:
            with file:
                table = self._arrow.Table.from_batches(batches, schema=self._schema)
                self._parquet.write_table(table, file)
            path = partial.with_suffix("")
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._directory.delete_oldest(path)


def record_schema(
    arrow: Any, signature: Signature, hashed: Sequence[str], without: Sequence[str]
) -> Any:
    """The columns of a Parquet file of the record. arrow: the module pyarrow."""
    types = {"float64": arrow.float64(), "int64": arrow.int64(), "bool": arrow.bool_()}
    inputs = [
        (column.name, arrow.string() if column.name in hashed else types.get(column.dtype))
        for column in signature.inputs
        if column.name not in without
    ]
    output = _output_type(arrow, signature)
    return arrow.schema(
        [
            ("time", arrow.string()),
            ("request_id", arrow.string()),
            ("row", arrow.int64()),
            ("model", arrow.string()),
            ("version", arrow.string()),
            ("input", arrow.struct([(name, kind or arrow.string()) for name, kind in inputs])),
            ("output", output),
            (
                "shadow",
                arrow.struct(
                    [
                        ("version", arrow.string()),
                        ("output", output),
                        ("milliseconds", arrow.float64()),
                    ]
                ),
            ),
        ]
    )


def _output_type(arrow: Any, signature: Signature) -> Any:
    def label(labels: Sequence[Label]) -> Any:
        kinds = {type(each) for each in labels}
        return {bool: arrow.bool_(), int: arrow.int64()}.get(kinds.pop(), arrow.string())

    names = class_names(signature.classes)
    numbers = [
        ("probabilities", arrow.struct([(name, arrow.float64()) for name in names])),
    ] * signature.probabilities
    match signature.task:
        case "classification":
            return arrow.struct([("label", label(signature.classes or [])), *numbers])
        case "multilabel":
            labels = arrow.list_(label(signature.classes or []))
            return arrow.struct([("labels", labels), *numbers])
        case "multi-output-classification":
            classes = signature.output_classes or []
            labels = zip(signature.outputs or [], map(label, classes), strict=True)
            return arrow.struct([("labels", arrow.struct(list(labels)))])
        case "regression":
            return arrow.list_(arrow.float64()) if signature.outputs else arrow.float64()
        case "clustering":
            return arrow.struct([("cluster", arrow.int64())])
        case _:
            return arrow.struct([("outlier", arrow.bool_()), ("score", arrow.float64())])


def lock(file: BinaryIO) -> bool:
    """Mark a file as this process's; return whether it is no other's."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def remove_partial_line(file: BinaryIO) -> None:
    """Cut off what follows the last line end of a file. Raises OSError."""
    end = os.fstat(file.fileno()).st_size
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < os.fstat(file.fileno()).st_size:
        os.ftruncate(file.fileno(), end)
