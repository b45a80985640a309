"""What the processes of one service tell each other: shared memory, with a place for each of them.

A place has a few numbers, each written by one side only, and what its worker has counted so far.
Counts are written whole, into the older of two copies, and outlive the process: whoever takes the
place next goes on from there. A process that is killed while it writes spoils only the other copy.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Protocol

_PAGE = mmap.PAGESIZE
_COPY = 256 * 1024
_STRIDE = _PAGE + 2 * _COPY
_HEAD = struct.Struct("=II")
_TRIES = 100


class State(IntEnum):
    """How far the process of a place is. Memory that nobody touched says EMPTY."""

    EMPTY = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    LOADED = 4
    """A loader that can fork."""


class Order(IntEnum):
    """What the supervisor wants of a worker.

    DRAIN: not ready, serve for the delay, then end. STOP: the same without the delay.
    RETIRE: leave new connections to the successors, serve for the delay, then end.
    """

    SERVE = 0
    DRAIN = 1
    STOP = 2
    RETIRE = 3


class Worded(Protocol):
    """What has words in shared memory."""

    @property
    def words(self) -> memoryview: ...


class Word:
    """A number of a place: 64 bits, read and written whole."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, place: Worded, _kind: type | None = None) -> int:
        return int(place.words[self._index])

    def __set__(self, place: Worded, value: int) -> None:
        place.words[self._index] = value


class Place:
    """The place of one process. All of them are zero at first."""

    state = Word(0)
    pid = Word(1)
    beats = Word(2)
    """Counted up as long as the event loop turns."""
    order = Word(3)
    model_bytes = Word(4)
    _published = Word(5)

    def __init__(self, memory: memoryview, number: int) -> None:
        start = _PAGE + number * _STRIDE
        self.number = number
        self.words = memory[start : start + _PAGE].cast("q")
        self._copies = memory[start + _PAGE : start + _STRIDE]

    def publish(self, snapshot: bytes) -> None:
        """Show what was counted. Raises ValueError if it is longer than 256 KiB."""
        if len(snapshot) > _COPY - _HEAD.size:
            raise ValueError(f"{len(snapshot)} bytes of metrics are more than a place holds")
        number = self._published + 1
        copy = self._copy(number)
        copy[_HEAD.size : _HEAD.size + len(snapshot)] = snapshot
        _HEAD.pack_into(copy, 0, len(snapshot), zlib.crc32(snapshot))
        self._published = number

    def snapshot(self) -> bytes:
        """What was published last; nothing if nothing was."""
        for _ in range(_TRIES):
            copy = self._copy(self._published)
            length, check = _HEAD.unpack_from(copy)
            found = bytes(copy[_HEAD.size : _HEAD.size + length])
            if zlib.crc32(found) == check:  # else its worker has published twice meanwhile
                return found
        return b""

    def _copy(self, number: int) -> memoryview:
        start = number % 2 * _COPY
        return self._copies[start : start + _COPY]


class Board:
    """The places of a service, and what its supervisor counts."""

    restarts = Word(0)
    reloads_done = Word(1)
    reloads_failed = Word(2)

    def __init__(self, places: int, memory: Any = None) -> None:
        """memory: of the size that is needed, all zero; else some that forked children share."""
        self._memory = mmap.mmap(-1, self.size(places)) if memory is None else memory
        view = memoryview(self._memory).cast("B")
        self.words = view[:_PAGE].cast("q")
        self.places = [Place(view, number) for number in range(places)]

    @staticmethod
    def size(places: int) -> int:
        """Bytes for so many places."""
        return _PAGE + places * _STRIDE

    def __reduce__(self) -> tuple[Any, ...]:
        """How a child that is started afresh is given it."""
        return Board, (len(self.places), self._memory)


class SharedCounts:
    """What `Metrics.share` takes: the counts of every worker, by way of the board."""

    def __init__(self, board: Board, place: Place) -> None:
        self._board = board
        self._place = place
        self.publish = place.publish
        self.left_behind = place.snapshot()

    def snapshots(self) -> Iterator[tuple[bytes, bool]]:
        """What each place has published, and whether the worker that did is still there."""
        for place in self._board.places:
            yield place.snapshot(), place.state in {State.READY, State.DRAINING}

    def of_the_service(self) -> dict[str, list[float]]:
        """What the supervisor counted, by the names of the metrics."""
        return {
            "serving_worker_restarts": [self._board.restarts],
            "serving_reloads\nok": [self._board.reloads_done],
            "serving_reloads\nfailed": [self._board.reloads_failed],
        }

    def workers(self) -> int:
        """How many workers are ready."""
        return sum(place.state == State.READY for place in self._board.places)
