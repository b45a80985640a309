"""Writes the result of a run and its bad rows: each file gets its name when it is complete."""

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import UsageError
from .checkpoint import BEGIN_ANEW, Checkpoint, Progress
from .results import ResultFormat
from .scorer import Scored


class PartialFile:
    """A file that is called `NAME.partial` until it is complete. One process may write it.

    What it holds is kept once it was saved; else it is removed at the end.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Open the file, and keep the first `size` bytes of it. Raises UsageError."""
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._keep = size > 0
        try:
            self._file = self.partial.open("ab")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}.") from None
        try:
            self._begin_at(size)
        except UsageError:
            self._file.close()
            raise

    def _begin_at(self, size: int) -> None:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(f"another process writes {self.path}.") from None
        if self._file.tell() < size:
            raise UsageError(f"{self.partial} is shorter than when it was saved. {BEGIN_ANEW}")
        self._file.truncate(size)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)

    def save(self) -> int:
        """Bring the file to the disk, to be kept; return its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._keep = True
        return os.fstat(self._file.fileno()).st_size

    def publish(self, complete: Path) -> None:
        """Give a complete file, which may be another, the name of this one in one step."""
        self._file.close()
        with complete.open("r+b") as file:
            os.fsync(file.fileno())
        complete.replace(self.path)
        self._keep = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._keep:
            self.partial.unlink(missing_ok=True)


class Output:
    """The result and the bad rows of a run, with its checkpoint.

    done: how far the run is. result: None for standard output. bad: None to end at a bad row.
    checkpoint: None if the run cannot go on later.
    """

    def __init__(
        self,
        source: Path,
        done: Progress,
        *,
        result_format: ResultFormat,
        result: PartialFile | None,
        bad: PartialFile | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.done = done
        self._source = source
        self._format = result_format
        self._result = result
        self._bad = bad
        self._checkpoint = checkpoint
        if not done.blocks:
            if checkpoint is not None:
                checkpoint.remove()
            self._write(result_format.head())

    def _write(self, data: bytes) -> None:
        (sys.stdout.buffer if self._result is None else self._result).write(data)

    def add(self, scored: Scored) -> None:
        """Write the result of the next block. Raises UsageError at a bad row that ends the run."""
        for row in scored.bad:
            number = self.done.rows + row.number
            if self._bad is None:
                raise UsageError(
                    f"{self._source}, row {number}: {row.reason}. `model show` has the columns; "
                    "--on-error FILE sets bad rows apart."
                )
            line = {"row": number, "error": row.reason, "input": json.loads(row.row)}
            text = json.dumps(line, ensure_ascii=False)
            self._bad.write(f"{text}\n".encode(errors="backslashreplace"))
        self._write(scored.data)
        self.done.blocks += 1
        self.done.rows += scored.rows
        self.done.bad += len(scored.bad)
        if self._checkpoint is not None and self._checkpoint.due:
            self._save(self._checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        if self._result is not None:
            self.done.result_bytes = self._result.save()
        if self._bad is not None:
            self.done.bad_bytes = self._bad.save()
        checkpoint.save(self.done)

    def complete(self) -> None:
        """Give the files their names, the result as the last one."""
        sys.stdout.flush()
        complete = None
        if self._result is not None:
            self._result.save()
            complete = self._format.finish(self._result.partial)
        if self._checkpoint is not None:
            self._checkpoint.remove()
        if self._bad is not None:
            self._bad.save()
            self._bad.publish(self._bad.partial)
        if self._result is not None and complete is not None:
            self._result.publish(complete)
