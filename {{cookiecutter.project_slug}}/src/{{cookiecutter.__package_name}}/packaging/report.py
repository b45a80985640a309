"""What a packaged model is like: its signature as a table, what it weighs, how long it takes."""

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path

from ..artifact.load import LoadedModel, Predict, build_model
from ..artifact.manifest import Manifest
from ..artifact.runtimes.scikit_learn import LIBRARIES
from ..errors import ModelError
from ..schema.signature import Cell, Column, Signature
from ..serving.heap import trim_heap
from .probes import probe

_CALLS = 20
_STATM = Path("/proc/self/statm")  # of Linux
_PAGE = 4096


def describe(signature: Signature) -> Iterator[str]:
    """The lines of a table: the columns, and what is answered."""
    rows = [("column", "type", "null", "observed")]
    rows += [(c.name, c.dtype, "yes" if c.nullable else "no", _seen(c)) for c in signature.inputs]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[3]]).rstrip()
    labels = signature.classes or signature.output_classes or signature.outputs
    of = f" of {_few(labels)}" if labels else ""
    shares = ", with probabilities" if signature.probabilities else ""
    yield f"layout {signature.layout}, {signature.task}{of}{shares}"


def build_and_weigh(manifest: Manifest, data: bytes) -> tuple[LoadedModel, int | None]:
    """Build a model from what was read; the bytes of memory it takes, where the system tells.

    Raises ModelError.
    """
    for name in manifest.built_with.keys() & set(LIBRARIES):
        _import(name)
    gc.collect()
    before = _resident()
    loaded = build_model(manifest, data, time.perf_counter())
    gc.collect()
    trim_heap()
    after = _resident()
    return loaded, None if before is None or after is None else max(0, after - before)


def facts(loaded: LoadedModel, memory: int | None, batch_rows: int) -> Iterator[str]:
    """Lines about size, latency and probes.

    Raises ModelError if the model proves less than its manifest says.
    """
    manifest = loaded.manifest
    rows = manifest.example_rows
    weight = "" if memory is None else f", {memory / 1e6:.1f} MB of memory"
    yield f"size: {manifest.artifact.size / 1e3:.1f} kB{weight}"
    one = _milliseconds(loaded.predict, rows[:1])
    many = _milliseconds(loaded.predict, list(islice(cycle(rows), batch_rows)))
    yield f"time: one row {one:.2f} ms, {batch_rows} rows {many:.2f} ms"
    found = probe(loaded.predict, rows)
    for name, meaning in (
        ("thread_safe", "called from several threads"),
        ("row_independent", "alone and in any batch"),
    ):
        recorded = getattr(manifest.probes, name)
        if recorded and not found[name]:
            raise ModelError(
                f"the model is recorded as {name}, and its answers are not the same {meaning}. "
                "Package it again."
            )
        yield f"{name}: {'yes' if recorded else 'no'}, {'the same' if recorded else 'other'} " + (
            f"answers {meaning}"
        )


def _import(name: str) -> None:
    """A library is no part of the model's weight. `load_model` says what is missing."""
    try:
        import_module(name)
    except ImportError:
        return


def _milliseconds(predict: Predict, rows: Sequence[Sequence[Cell]]) -> float:
    seconds = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        predict(rows)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def _resident() -> int | None:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return None


def _seen(column: Column) -> str:
    if column.categories is not None:
        only = "only " if column.enforce else ""
        return only + _few(column.categories)
    if column.minimum is None or column.maximum is None:
        return ""
    return f"{column.minimum:g} to {column.maximum:g}"


def _few(values: Sequence[object], most: int = 8) -> str:
    return ", ".join(map(str, values[:most])) + (", …" if len(values) > most else "")
