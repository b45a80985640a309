"""Reads files in blocks of bounded size: the same blocks each time that a file is read."""

import csv
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from ...build_model.examples import read_examples
from ...build_model.pickles import PICKLES
from ...build_model.row_files import (
    TABLES,
    check_content,
    import_pyarrow,
    not_parquet,
    open_text,
    read_header,
    read_rows,
    reading,
)
from ...errors import UsageError
from ...schema.signature import Signature
from ...schema.text_cells import read_fields
from .blocks import BatchBlock, Block, LinesBlock, TableBlock

BLOCK_BYTES = 4 * 2**20
BLOCK_ROWS = 8000
"""Most bytes of a block, and about how many rows it has if they are short."""
_FIRST_BYTES = 2**16
_COLUMN_BUFFER = 2**16


class Source(ABC):
    """A file of rows.

    names: of its columns, in its header or its first row. Raises UsageError, from every method, if
    the file cannot be read.
    """

    names: Sequence[str] = ()
    has_header = False

    @abstractmethod
    def blocks(self) -> Iterator[tuple[bytes, float]]:
        """Each block, and the fraction of the file that is then read; 0 if that is unknown."""

    @abstractmethod
    def parse(self, block: bytes) -> Block:
        """The rows of a block, which another process may have read."""

    def close(self) -> None:  # noqa: B027 - some have no file
        """Close the file."""


def open_source(path: Path, signature: Signature) -> Source:
    """Open a file by its suffix; `-` is JSON Lines from standard input. Raises UsageError."""
    suffix = path.suffix.lower()
    if str(path) == "-":
        return LinesSource(path)
    if suffix in PICKLES:
        return RowsSource(path)
    if suffix == ".parquet":
        check_content(path)
        return ParquetSource(path, signature)
    if suffix == ".jsonl" or suffix in TABLES:
        check_content(path)
        return LinesSource(path) if suffix == ".jsonl" else TableSource(path, signature)
    return RowsSource(path)


class LinesSource(Source):
    """JSON Lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path):
            self._file = _standard_input() if str(path) == "-" else open_text(path)
            self._first = _first_lines(self._file)
        first = next(LinesBlock("".join(self._first).encode()).rows(), None)
        self.names = list(first) if isinstance(first, dict) else ()

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        with reading(self._path):
            yield from _text_blocks(self._file, self._first)

    def close(self) -> None:
        self._file.close()

    def parse(self, block: bytes) -> Block:
        return LinesBlock(block)


def _standard_input() -> TextIO:
    return open(sys.stdin.fileno(), encoding="utf-8-sig", newline="", closefd=False)


def _text_blocks(
    file: TextIO, first: list[str], join: Callable[[list[str]], str] = "".join
) -> Iterator[tuple[bytes, float]]:
    """Blocks of whole lines.

    first: lines that are read already. join: makes one text of lines, and of those that follow
    in the last record. The size of a block follows from the length of the lines before.
    """
    size = os.fstat(file.fileno()).st_size
    read = 0
    lines = first or _first_lines(file)
    while lines:
        block = join(lines).encode()
        read += len(block)
        yield block, min(1.0, read / size) if size else 0.0
        lines = file.readlines(min(BLOCK_BYTES, BLOCK_ROWS * len(block) // len(lines)))


def _first_lines(file: TextIO) -> list[str]:
    return file.readlines(min(BLOCK_BYTES, _FIRST_BYTES))


class TableSource(Source):
    """A table of text."""

    has_header = True

    def __init__(self, path: Path, signature: Signature) -> None:
        self._path = path
        self._known = {column.name: column for column in signature.inputs}
        with reading(path):
            self._file = open_text(path)
            self.names, self._delimiter, _ = read_header(self._file)

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        with reading(self._path):
            yield from _text_blocks(self._file, [], self._join)

    def close(self) -> None:
        self._file.close()

    def _join(self, lines: list[str]) -> str:
        """The lines, and those that follow until the last record ends: a field in quotes may hold
        line ends."""
        text = "".join(lines)
        if '"' not in text:
            return text
        taken: list[str] = []

        def take() -> Iterator[str]:
            for line in chain(lines, self._file):
                taken.append(line)
                yield line

        records = read_fields(take(), self._delimiter)
        while len(taken) < len(lines):
            with suppress(csv.Error, StopIteration):  # `TableBlock` reports the error
                next(records)
        return "".join(taken)

    def parse(self, block: bytes) -> Block:
        return TableBlock(block, self.names or (), self._delimiter, self._known)


class RowsSource(Source):
    """A JSON document or a pickled DataFrame, which are read as a whole."""

    def __init__(self, path: Path) -> None:
        pickled = path.suffix.lower() in PICKLES
        self._rows = read_examples(path).rows if pickled else read_rows(path)
        self.names = list(self._rows[0])

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        for start in range(0, len(self._rows), BLOCK_ROWS):
            part = self._rows[start : start + BLOCK_ROWS]
            lines = (json.dumps(row, default=str) for row in part)
            yield "\n".join(lines).encode(), (start + len(part)) / len(self._rows)

    def parse(self, block: bytes) -> Block:
        return LinesBlock(block)


class ParquetSource(Source):
    """A Parquet file, of which only the columns of the model are read."""

    has_header = True

    def __init__(self, path: Path, signature: Signature) -> None:
        self._arrow = import_pyarrow()
        self._path = path
        try:
            # With others, it holds a whole row group.
            self._file = self._arrow.parquet.ParquetFile(
                path, buffer_size=_COLUMN_BUFFER, pre_buffer=False
            )
        except FileNotFoundError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}.") from None
        except (OSError, self._arrow.ArrowException) as error:
            raise UsageError(not_parquet(path, error)) from None
        self.names = self._file.schema_arrow.names
        self._columns = [name for name in signature.columns if name in self.names]

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        metadata = self._file.metadata
        read = 0
        try:
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
                for batch in self._file.iter_batches(
                    max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes)),
                    row_groups=[number],
                    columns=self._columns,
                    use_threads=False,
                ):
                    read += len(batch)
                    yield self._to_bytes(batch), read / metadata.num_rows
        except (OSError, self._arrow.ArrowException) as error:
            raise UsageError(not_parquet(self._path, error)) from None

    def close(self) -> None:
        self._file.close()

    def _to_bytes(self, batch: Any) -> bytes:
        sink = self._arrow.BufferOutputStream()
        with self._arrow.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def parse(self, block: bytes) -> Block:
        return BatchBlock(block)
