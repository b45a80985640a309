"""Workers that are started afresh, each with a copy of the model: where a fork is not safe."""

import ctypes
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawArray
from socket import socket
from typing import Any, Self

from ..artifact.manifest import Manifest, read_manifest
from ..artifact.threads import limit_threads_of_imports
from ..errors import ServiceExit
from ..schema.compatibility import check_accepts_as_much
from ..settings import Settings
from ..telemetry.logs import configure_logs
from .board import Board, State
from .crew import ORDERS, Crew, ImportApp, Member
from .ports import bind

logger = logging.getLogger("server")
_spawn = multiprocessing.get_context("spawn")


class SpawnedCrew(Crew):
    """Workers that are children of the supervisor and load the model themselves."""

    start_patience = math.inf  # a model may take long to load

    def __init__(
        self, manifest: Manifest, board: Board, workers: int, generation: int, *work: Any
    ) -> None:
        super().__init__(board, workers, generation)
        self.place.state = State.LOADED
        self._manifest = manifest
        self._work = work
        self._processes: dict[int, SpawnProcess] = {}

    @staticmethod
    def board(places: int) -> Board:
        return Board(places, RawArray(ctypes.c_char, Board.size(places)))

    @staticmethod
    def listen(settings: Settings) -> list[socket]:
        return [bind(settings.host, settings.port)] * settings.workers

    @classmethod
    def start(
        cls,
        settings: Settings,
        import_app: ImportApp,
        board: Board,
        listeners: Sequence[socket],
        predecessor: Self | None,
    ) -> Self:
        manifest = read_manifest(settings.model_dir)
        if predecessor is not None:
            check_accepts_as_much(predecessor._manifest.signature, manifest.signature)
        generation = predecessor.generation + 1 if predecessor else 0
        work = (settings, import_app, board, listeners[0])
        return cls(manifest, board, len(listeners), generation, *work)

    @staticmethod
    def fallen(crews: Iterable[Crew]) -> list[tuple[int, int]]:
        found = []
        for crew in crews:
            assert isinstance(crew, SpawnedCrew)  # noqa: S101 - a service has one kind
            for pid, process in list(crew._processes.items()):
                if process.exitcode is not None:
                    found.append((pid, process.exitcode))
                    del crew._processes[pid]
        return found

    def begin(self, member: Member) -> None:
        member.begin()
        process = _spawn.Process(target=_serve_copy, args=(*self._work, member.place.number))
        process.start()
        member.place.pid = process.pid or 0
        self._processes[member.place.pid] = process

    def kill(self, pid: int) -> None:
        if pid in self._processes:
            self._processes[pid].kill()

    def model(self) -> str:
        return f"{self._manifest.name} {self._manifest.version}"

    def tell_memory(self) -> None:
        logger.info(
            "each of %d workers has its own copy of the model, as this system has no safe way to "
            "share one",
            len(self.members),
        )

    def close(self) -> None:
        self.place.state = State.EMPTY


def _serve_copy(
    settings: Settings, import_app: ImportApp, board: Board, listener: socket, number: int
) -> None:
    """Load a copy of the model and serve it, in a process that has just been started."""
    for sig in ORDERS:
        signal.signal(sig, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    limit_threads_of_imports()
    configure_logs(settings.log_format, settings.log_level)
    from .worker import work  # noqa: PLC0415 - the supervisor does without uvicorn

    try:
        work(import_app()(settings, None), settings, board, number, listener)
    except ServiceExit as error:
        logger.critical(str(error))
        sys.exit(error.exit_code)
    logging.shutdown()
    os._exit(0)  # whatever a thread may still compute


def _end_with_the_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None  # noqa: S101 - this is a child
    supervisor.join()
    os._exit(1)
