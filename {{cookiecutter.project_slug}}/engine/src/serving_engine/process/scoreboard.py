"""The scoreboard: shared memory with one slot for each process of a service.

A slot has a few integers, each written by one process only, and a snapshot of its worker's
metrics. A snapshot is written into the older of two copies: if the process is killed meanwhile, the
other copy is intact. Snapshots outlive the process: the next worker in the slot adds to its counts.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Protocol

from ..telemetry.metrics import Snapshot

_PAGE = mmap.PAGESIZE
_COPY = 256 * 1024
_STRIDE = _PAGE + 2 * _COPY
_HEADER = struct.Struct("=II")
"""Length and CRC-32 of a snapshot."""
_TRIES = 100


class State(IntEnum):
    """State of the process of a slot. Memory that was never written means EMPTY."""

    EMPTY = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    LOADED = 4
    """A loader that can fork workers."""
    WARM = 5
    """A worker that waits for the command to serve."""


class Command(IntEnum):
    """A command of the supervisor to a worker.

    WAIT: become warm, do not listen yet. SERVE: listen, and serve.
    DRAIN: become unready, serve for the drain delay, then end. STOP: the same without the delay.
    RETIRE: leave new connections to the next generation, serve for the delay, then end.
    """

    WAIT = 0
    SERVE = 1
    DRAIN = 2
    STOP = 3
    RETIRE = 4


class _HasInts(Protocol):
    @property
    def ints(self) -> memoryview: ...


class SharedInt:
    """An integer in shared memory: 64 bits, read and written whole."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, instance: _HasInts, _owner: type | None = None) -> int:
        return int(instance.ints[self._index])

    def __set__(self, instance: _HasInts, value: int) -> None:
        instance.ints[self._index] = value


class Slot:
    """The slot of one process. All integers are zero at first."""

    state = SharedInt(0)
    pid = SharedInt(1)
    heartbeats = SharedInt(2)
    """Counted up as long as the event loop turns and the model can be called."""
    command = SharedInt(3)
    model_bytes = SharedInt(4)
    _published = SharedInt(5)

    def __init__(self, memory: memoryview, number: int) -> None:
        start = _PAGE + number * _STRIDE
        self.number = number
        self.ints = memory[start : start + _PAGE].cast("q")
        self._copies = memory[start + _PAGE : start + _STRIDE]

    def publish(self, snapshot: bytes) -> None:
        """Publish a snapshot of metrics. Raises ValueError if it is longer than 256 KiB."""
        if len(snapshot) > _COPY - _HEADER.size:
            raise ValueError(f"{len(snapshot)} bytes of metrics are more than a slot holds")
        number = self._published + 1
        copy = self._copy(number)
        copy[_HEADER.size : _HEADER.size + len(snapshot)] = snapshot
        _HEADER.pack_into(copy, 0, len(snapshot), zlib.crc32(snapshot))
        self._published = number

    def snapshot(self) -> bytes:
        """Return the snapshot that was published last; empty if none was."""
        for _ in range(_TRIES):
            copy = self._copy(self._published)
            length, checksum = _HEADER.unpack_from(copy)
            snapshot = bytes(copy[_HEADER.size : _HEADER.size + length])
            if zlib.crc32(snapshot) == checksum:  # else its worker published twice meanwhile
                return snapshot
        return b""

    def _copy(self, number: int) -> memoryview:
        start = number % 2 * _COPY
        return self._copies[start : start + _COPY]


class Scoreboard:
    """The slots of a service, and the counts of its supervisor. Forked children share it."""

    restarts = SharedInt(0)
    reloads_done = SharedInt(1)
    reloads_failed = SharedInt(2)
    lines_dropped = SharedInt(3)
    """Log lines that the supervisor has dropped."""

    def __init__(self, slots: int) -> None:
        view = memoryview(mmap.mmap(-1, _PAGE + slots * _STRIDE)).cast("B")
        self.ints = view[:_PAGE].cast("q")
        self.slots = [Slot(view, number) for number in range(slots)]


class SharedMetrics:
    """The metrics of all workers, through the scoreboard, for `Metrics.share`."""

    def __init__(self, scoreboard: Scoreboard, slot: Slot) -> None:
        self._scoreboard = scoreboard
        self.publish = slot.publish
        self.inherited = slot.snapshot()

    def snapshots(self) -> Iterator[Snapshot]:
        """Iterate over the published snapshots of all slots."""
        for slot in self._scoreboard.slots:
            yield Snapshot(slot.snapshot(), slot.state in {State.READY, State.DRAINING})

    def of_the_service(self) -> dict[str, list[float]]:
        """Return the counts of the supervisor, by metric."""
        return {
            "serving_worker_restarts": [self._scoreboard.restarts],
            "serving_reloads\nok": [self._scoreboard.reloads_done],
            "serving_reloads\nfailed": [self._scoreboard.reloads_failed],
            "serving_log_lines_dropped": [self._scoreboard.lines_dropped],
        }

    def workers(self) -> int:
        """Return the number of workers that are ready."""
        return sum(slot.state == State.READY for slot in self._scoreboard.slots)
