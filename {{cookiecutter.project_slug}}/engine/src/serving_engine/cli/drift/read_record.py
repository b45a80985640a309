"""Reads the rows of a record, a block at a time: a record may be larger than the memory."""

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ...build_model.row_files import PACKAGE
from ...errors import UsageError
from ...inference.observers.record_files import PREFIX, SUFFIXES
from ...text import reason

BLOCK = 1000
MAX_LINE = 64 * 1024 * 1024


RecordRow = dict[str, Any]


def record_files(record: Path) -> list[Path]:
    """The files of a record, the oldest first. record: its directory, or one file.

    Raises UsageError if there is none.
    """
    if record.is_file():
        return [record]
    found = [path for path in record.glob(f"{PREFIX}*") if path.suffix in SUFFIXES]
    if not found:
        raise UsageError(
            f"{record} holds no record of requests. Give the directory that SERVING_RECORD_DIR "
            "named, or a file of it."
        )
    return sorted(found)


def read_record(record: Path) -> Iterator[list[RecordRow]]:
    """The rows of all files, in blocks of at most `BLOCK`. Raises UsageError."""
    for path in record_files(record):
        blocks = _parquet_blocks(path) if path.suffix == ".parquet" else _line_blocks(path)
        try:
            for rows in blocks:
                _check(path, rows)
                yield rows
        except FileNotFoundError:  # the service has deleted it, as the oldest
            continue
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}.") from None


def _line_blocks(path: Path) -> Iterator[list[RecordRow]]:
    with path.open("rb") as file:
        number = 0
        while lines := list(islice(iter(lambda: file.readline(MAX_LINE), b""), BLOCK)):
            if not lines[-1].endswith(b"\n"):
                lines.pop()  # the service is writing it, or was killed
            try:
                rows = [orjson.loads(line) for line in lines]
            except orjson.JSONDecodeError as error:
                raise UsageError(
                    f"{path} is no record of requests: after line {number}: {error}."
                ) from None
            number += len(lines)
            yield rows


def _parquet_blocks(path: Path) -> Iterator[list[RecordRow]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{path} needs pyarrow, which is not installed: {PACKAGE}.") from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BLOCK):
                yield batch.to_pylist()
    except OSError:
        raise
    except Exception as error:  # exceptions of pyarrow
        raise UsageError(f"{path} is no record of requests ({reason(error)}).") from None


def _check(path: Path, rows: list[RecordRow]) -> None:
    for row in rows:
        if not isinstance(row, dict) or not {"input", "output", "version"} <= row.keys():
            raise UsageError(f"{path} is no record of requests: a row lacks input or output.")
        if not isinstance(row["input"], dict):
            raise UsageError(f"{path} is no record of requests: an input is no object.")
