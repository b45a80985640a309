"""Records sampled rows with their predictions: chosen in the event loop, written in a thread."""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import orjson

from ...runtimes.base import LoadedModel
from ...schema.predictions import Outputs, PredictionFormatter
from ...schema.request_parser import Values
from ...schema.signature import Signature
from ...settings import ServingSettings
from ...telemetry.observer_metrics import ObserverMetrics
from ...text import reason
from .background import BackgroundThread
from .record_files import JSONLinesWriter, ParquetWriter, RecordDirectory, RecordWriter
from .record_settings import check_columns

MAX_QUEUED_BYTES = 16 * 1024 * 1024
BATCH_BYTES = 256 * 1024
CELL_BYTES = 64
FLUSH_SECONDS = 2.0
"""Seconds that the end of the service waits for the last rows of the record."""

logger = logging.getLogger("record")


@dataclass(frozen=True, slots=True)
class Seen:
    """The rows of one request and the model's outputs for them.

    rows: see `Rows.values`. recorded: how many of them are to be recorded, from the first one.
    time: when they were predicted, in seconds since 1970.
    """

    rows: Values
    outputs: Outputs
    recorded: int = 0
    request_id: str = ""
    time: float = 0.0

    def to_record(self) -> "Seen":
        """A copy of the rows that are to be recorded: a view would keep the others in memory."""
        rows = self.rows[: self.recorded]
        return replace(
            self,
            rows=rows.copy() if isinstance(rows, np.ndarray) else rows,
            outputs=copy_of(self.outputs, self.recorded),
        )


def copy_of(outputs: Outputs, rows: int) -> Outputs:
    """A copy of the outputs of the first rows: they are a view of those of a whole batch."""
    return outputs.take(np.arange(rows))


@dataclass(frozen=True, slots=True)
class ShadowOutputs:
    """What the shadow model predicts for the same rows.

    seconds: how long the call took that had these rows, among others.
    """

    version: str
    outputs: Outputs
    format: PredictionFormatter
    seconds: float


class Recorder:
    """Writes rows, predictions, version, request id and time into the files of the record.

    Raises StartupError if a setting names a column that the model does not have.
    """

    def __init__(
        self, loaded: LoadedModel, settings: ServingSettings, metrics: ObserverMetrics
    ) -> None:
        check_columns(loaded.manifest.signature.columns, settings)
        self._sample = settings.record_sample
        self._rate = settings.record_rows_per_second / settings.workers
        self._burst = max(1.0, self._rate)
        self._tokens = self._burst
        self._refilled = time.monotonic()
        self._directory = settings.record_dir
        self._metrics = metrics
        self._stopped = False
        self._failed = False
        self._to_rows = RowFormatter(loaded, settings)
        self._writer = _writer(loaded.manifest.signature, settings)
        self._thread: BackgroundThread[tuple[Seen, ShadowOutputs | None]] = BackgroundThread(
            "record", self._write, batch=BATCH_BYTES, limit=MAX_QUEUED_BYTES, finish=self._finish
        )

    def sample(self, rows: int) -> int:
        """How many rows of a request to record: 0 if it is not sampled."""
        if self._sample < 1 and random.random() >= self._sample:  # noqa: S311
            return 0
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        recorded = min(rows, int(self._tokens))
        self._tokens -= recorded
        if recorded < rows:
            self._metrics.not_recorded("rate", rows - recorded)
        return recorded

    def offer(self, seen: Seen, shadow: ShadowOutputs | None = None) -> None:
        """Record rows that were sampled, if there is room in the queue. Never waits."""
        if self._stopped:
            self._metrics.not_recorded("stopped", seen.recorded)
            return
        seen = seen.to_record()
        if shadow is not None:
            shadow = replace(shadow, outputs=copy_of(shadow.outputs, seen.recorded))
        if not self._thread.offer((seen, shadow), size_of(seen, shadow)):
            self._metrics.not_recorded("queue-full", seen.recorded)

    def end(self) -> None:
        """Make the thread end when what is queued is written."""
        self._thread.end()

    def close(self) -> None:
        """Write what is queued; wait for it, for `FLUSH_SECONDS` at most."""
        self._thread.close(FLUSH_SECONDS)

    def _write(self, items: list[tuple[Seen, ShadowOutputs | None]]) -> None:
        for seen, shadow in items:
            if self._stopped:
                self._metrics.not_recorded("stopped", seen.recorded)
                continue
            self._try(seen.recorded, partial(self._write_one, seen, shadow))

    def _write_one(self, seen: Seen, shadow: ShadowOutputs | None) -> None:
        self._writer.write(self._to_rows(seen, shadow))
        self._metrics.recorded(seen.recorded)

    def _finish(self) -> None:
        if not self._stopped:
            self._try(0, self._writer.close)

    def _try(self, rows: int, write: Callable[[], None]) -> None:
        """Write; stop the record if the disk does not take it."""
        try:
            write()
        except OSError as error:
            self._stopped = True
            self._metrics.not_recorded("stopped", rows)
            logger.error(  # noqa: TRY400
                "the record of requests stops: cannot write %s: %s. Make room, then reload the "
                "model (SIGHUP) or restart.",
                self._directory,
                error.strerror or error,
            )
        except Exception as error:
            self._metrics.not_recorded("failed", rows)
            if not self._failed:
                self._failed = True
                logger.error("cannot record rows: %s", reason(error))  # noqa: TRY400


class RowFormatter:
    """Makes the rows of the record: one for each row of a request."""

    def __init__(self, loaded: LoadedModel, settings: ServingSettings) -> None:
        manifest = loaded.manifest
        key = settings.record_hash_key
        self._key = key.get_secret_value().encode()[: hashlib.blake2b.MAX_KEY_SIZE] if key else b""
        self._format = PredictionFormatter(manifest.signature)
        self._name = manifest.name
        self._version = manifest.version
        self._columns = [
            (number, column.name, column.name in settings.record_hashed)
            for number, column in enumerate(manifest.signature.inputs)
            if column.name not in settings.record_without
        ]
        self._bools = {
            number
            for number, column in enumerate(manifest.signature.inputs)
            if column.dtype == "bool"
        }

    def __call__(self, seen: Seen, shadow: ShadowOutputs | None) -> list[dict[str, Any]]:
        """The rows of one request: see `Seen.to_record`."""
        moment = datetime.fromtimestamp(seen.time, UTC).isoformat(timespec="milliseconds")
        predictions = self._format(seen.outputs)
        others = [] if shadow is None else shadow.format(shadow.outputs)
        rows = []
        for number, cells in enumerate(self._cells(seen.rows)):
            row = {
                "time": moment,
                "request_id": seen.request_id,
                "row": number,
                "model": self._name,
                "version": self._version,
                "input": {
                    name: self._hash(cells[column]) if hashed else cells[column]
                    for column, name, hashed in self._columns
                },
                "output": predictions[number],
            }
            if shadow is not None:
                row["shadow"] = {
                    "version": shadow.version,
                    "output": others[number],
                    "milliseconds": round(shadow.seconds * 1000, 3),
                }
            rows.append(row)
        return rows

    def _cells(self, rows: Values) -> Sequence[Sequence[Any]]:
        if not isinstance(rows, np.ndarray):
            return rows
        values = rows.astype(object)
        values[np.isnan(rows)] = None
        cells: list[list[Any]] = values.tolist()
        for row in cells:
            for column in self._bools:
                row[column] = None if row[column] is None else bool(row[column])
        return cells

    def _hash(self, cell: Any) -> str | None:
        if cell is None:
            return None
        text = cell.encode() if isinstance(cell, str) else orjson.dumps(cell)
        return hashlib.blake2b(text, key=self._key, digest_size=16).hexdigest()


def size_of(seen: Seen, shadow: ShadowOutputs | None = None) -> int:
    """About the bytes that rows and outputs take in memory."""
    outputs = [seen.outputs] if shadow is None else [seen.outputs, shadow.outputs]
    arrays = [array for each in outputs for array in (each.values, each.probabilities)]
    size = CELL_BYTES + sum(array.nbytes for array in arrays if array is not None)
    if isinstance(seen.rows, np.ndarray):
        return size + seen.rows.nbytes
    for row in seen.rows:
        size += CELL_BYTES * len(row)
        size += sum(len(cell) for cell in row if isinstance(cell, str))
    return size


def _writer(signature: Signature, settings: ServingSettings) -> RecordWriter:
    directory = RecordDirectory(settings.record_dir or settings.model_dir, settings.record_files)
    if settings.record_format == "jsonl":
        return JSONLinesWriter(directory, settings.record_file_bytes)
    return ParquetWriter(
        directory,
        settings.record_file_bytes,
        signature,
        hashed=settings.record_hashed,
        without=settings.record_without,
    )
