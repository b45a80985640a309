"""Reports on a model: its signature as a table, its memory, its latency, its probes."""

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path

from ..errors import ModelError
from ..heap import trim_heap
from ..model_files.manifest import Manifest
from ..runtimes.base import LoadedModel, ModelFiles, OwnerCode, Predict
from ..runtimes.load import build_model
from ..runtimes.registry import find_runtime
from ..runtimes.versions import LIBRARIES
from ..schema.signature import CellRows, Column, Signature
from .probes import probe

_CALLS = 20
_SECONDS = 1.0
_MAX_SHOWN = 8
_STATM = Path("/proc/self/statm")  # of Linux
_PAGE_BYTES = 4096


def signature_table(signature: Signature) -> Iterator[str]:
    """The lines of a table: one for each column, then one about the outputs."""
    rows = [("column", "type", "null", "observed")]
    for column in signature.inputs:
        nullable = "yes" if column.nullable else "no"
        rows.append((column.name, column.dtype, nullable, _observed(column)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    labels = signature.classes or signature.output_classes or signature.outputs
    of = f" of {_shortened(labels)}" if labels else ""
    probabilities = ", with probabilities" if signature.probabilities else ""
    yield f"layout {signature.layout}, {signature.task}{of}{probabilities}"


def closed_columns(signature: Signature) -> Iterator[str]:
    """A line for each column whose texts the model limits to those that it was fitted with."""
    for column in signature.inputs:
        if column.dtype == "string" and column.enforce and column.categories is not None:
            yield (
                f"column {column.name}: the model knows {len(column.categories)} texts, and a "
                "request with any other gets 422. An encoder fitted with handle_unknown='ignore' "
                "accepts others."
            )


def build_and_measure(
    manifest: Manifest, files: ModelFiles, code: OwnerCode
) -> tuple[LoadedModel, int | None]:
    """Build a model from the results of `read_model`; also return its bytes of memory.

    The memory is None if the system does not report it. Raises ModelError.
    """
    find_runtime(manifest.artifact.format).import_libraries(code)
    for name in manifest.built_with.keys() & set(LIBRARIES):
        with suppress(ImportError):  # `build_model` reports it
            import_module(name)  # its memory is not the model's
    gc.collect()
    before = _resident_bytes()
    loaded = build_model(manifest, files, time.perf_counter(), code)
    gc.collect()
    trim_heap()
    after = _resident_bytes()
    return loaded, None if before is None or after is None else max(0, after - before)


def report_lines(loaded: LoadedModel, memory: int | None, batch_rows: int) -> Iterator[str]:
    """The lines of a report: size, latency and probes.

    memory: bytes that the model takes, if known. batch_rows: rows of a full batch.
    Raises ModelError if a probe that the manifest records as passed fails.
    """
    manifest = loaded.manifest
    rows = manifest.example_rows
    in_memory = "" if memory is None else f", {memory / 1e6:.1f} MB of memory"
    yield f"size: {manifest.artifact.total_size / 1e3:.1f} kB{in_memory}"
    one = milliseconds(loaded.predict, rows[:1])
    many = milliseconds(loaded.predict, list(islice(cycle(rows), batch_rows)))
    yield f"time: one row {one:.2f} ms, {batch_rows} rows {many:.2f} ms"
    passed = probe(loaded.predict, rows, manifest.signature)
    for name, calls in (
        ("thread_safe", "several threads"),
        ("row_independent", "single rows and batches"),
    ):
        recorded = getattr(manifest.probes, name)
        if recorded and not passed[name]:
            raise ModelError(
                f"the manifest records the model as {name}, but predictions differ between "
                f"{calls}. Package the model again."
            )
        result = "yes, equal" if recorded else "no, different"
        yield f"{name}: {result} predictions from {calls}"


def milliseconds(predict: Predict, rows: CellRows) -> float:
    """The median time of a call; few calls of a slow model."""
    seconds: list[float] = []
    while len(seconds) < _CALLS and sum(seconds) < _SECONDS:
        started = time.perf_counter()
        predict(rows)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def _resident_bytes() -> int | None:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return None


def _observed(column: Column) -> str:
    if column.categories is not None:
        only = "only " if column.enforce else ""
        return only + _shortened(column.categories)
    if column.minimum is None or column.maximum is None:
        return ""
    return f"{column.minimum:g} to {column.maximum:g}"


def _shortened(values: Sequence[object]) -> str:
    more = ", …" if len(values) > _MAX_SHOWN else ""
    return ", ".join(map(str, values[:_MAX_SHOWN])) + more
