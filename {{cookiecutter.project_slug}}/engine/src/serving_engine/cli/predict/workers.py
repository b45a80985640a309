"""Processes that score blocks and share the memory of the model. Linux only."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import orjson

from ...errors import ServiceExit, StartupError
from ...process.fork import fork, other_threads
from .scorer import BadRow, Scored
from .scoring import Score, ScoreAll


class WorkerEnded(ServiceExit):
    """A worker process has ended before its work was done."""


@contextmanager
def forked_workers(score: Score, count: int) -> Iterator[ScoreAll]:
    """Fork processes from this one, which have its model, and score in them."""
    threads = other_threads()
    if threads:
        raise StartupError(
            f"a library of the model has started threads ({', '.join(threads)}), which a fork does "
            "not copy. Use --workers 1."
        )
    running: list[_Worker] = []
    try:
        for number in range(count):
            running.append(_Worker(score, f"predict {number}"))
        yield lambda blocks: _in_turn(running, blocks)
    finally:
        for worker in running:
            worker.kill()


def _in_turn(
    workers: list["_Worker"], blocks: Iterable[tuple[bytes, float]]
) -> Iterator[tuple[Scored, float]]:
    """Give each worker a block in turn. While all work, the next block is read."""
    idle = deque(workers)
    busy: deque[tuple[_Worker, float]] = deque()
    for block, part in blocks:
        if not idle:
            worker, done = busy.popleft()
            yield worker.receive(), done
            idle.append(worker)
        idle[0].send(block)
        busy.append((idle.popleft(), part))
    for worker, done in busy:
        yield worker.receive(), done


class _Worker:
    """A forked process that scores one block after the other."""

    def __init__(self, score: Score, name: str) -> None:
        self._connection, other_end = Pipe()
        self._pid = fork(lambda: _serve(score, other_end), os.getpid(), name)
        other_end.close()

    def send(self, block: bytes) -> None:
        try:
            self._connection.send_bytes(block)
        except OSError:
            raise self._ended() from None

    def receive(self) -> Scored:
        try:
            rows, bad = orjson.loads(self._connection.recv_bytes())
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._ended() from None
        return Scored(rows, data, [BadRow(**each) for each in bad])

    def _ended(self) -> WorkerEnded:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        return WorkerEnded(
            f"a worker process ended {how}. If the system was out of memory, use fewer --workers; "
            "--resume goes on from the last checkpoint."
        )

    def kill(self) -> None:
        self._connection.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _serve(score: Score, connection: Connection) -> None:
    while True:
        scored = score(connection.recv_bytes())
        connection.send_bytes(orjson.dumps([scored.rows, [asdict(each) for each in scored.bad]]))
        connection.send_bytes(scored.data)
