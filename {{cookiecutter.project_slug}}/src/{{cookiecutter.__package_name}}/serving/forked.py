"""Workers that a loader forks, so that they share one copy of the model. Linux only."""

import json
import logging
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from socket import socket
from typing import Self

from ..errors import ServiceExit
from ..settings import Settings
from .board import Board, State
from .crew import Crew, ImportApp, Member
from .memory import bill
from .ports import bind_each
from .processes import adopt_orphans, dead_children, fork, kill

if sys.platform != "linux":
    raise ImportError("Linux only")

ORDER = struct.Struct("=II")
"""To the loader: fork a worker. The number of its place, and the number of its socket."""

logger = logging.getLogger("reload")


class ForkedCrew(Crew):
    """A loader and the workers that it forked."""

    start_patience = 60.0  # it has only to warm up

    def __init__(self, board: Board, workers: int, generation: int) -> None:
        super().__init__(board, workers, generation)
        self._record = os.memfd_create("model")
        """Name, version and signature of the model, which the loader writes."""
        self._reading, self._orders = os.pipe()

    @staticmethod
    def board(places: int) -> Board:
        return Board(places)

    @staticmethod
    def listen(settings: Settings) -> list[socket]:
        return bind_each(settings.host, settings.port, settings.workers)

    @classmethod
    def start(
        cls,
        settings: Settings,
        import_app: ImportApp,
        board: Board,
        listeners: Sequence[socket],
        predecessor: Self | None,
    ) -> Self:
        adopt_orphans()
        crew = cls(board, len(listeners), predecessor.generation + 1 if predecessor else 0)
        files = (crew._reading, crew._record, predecessor._record if predecessor else None)
        supervisor = os.getpid()

        def run() -> None:
            # Everything heavy stays out of the supervisor.
            from .loader import load_and_fork  # noqa: PLC0415

            os.close(crew._orders)
            if predecessor is not None:
                os.close(predecessor._orders)
            try:
                load_and_fork(
                    *(settings, import_app, board, crew.number, listeners),
                    files=files,
                    supervisor=supervisor,
                )
            except ServiceExit as error:
                if predecessor is None:
                    raise
                logger.error("reload failed, %s stays: %s", predecessor.model(), error)  # noqa: TRY400
                sys.exit(error.exit_code)

        crew.place.state = State.STARTING
        crew.loader = crew.place.pid = fork(run, supervisor, "loader")
        os.close(crew._reading)
        return crew

    @staticmethod
    def fallen(crews: Iterable[Crew]) -> list[tuple[int, int]]:  # noqa: ARG004
        return dead_children()

    def begin(self, member: Member) -> None:
        member.begin()
        with suppress(BrokenPipeError):  # the loader has just ended, which is noticed next
            os.write(self._orders, ORDER.pack(member.place.number, member.number))

    def kill(self, pid: int) -> None:
        kill(pid)

    def model(self) -> str:
        record = json.loads(os.pread(self._record, os.fstat(self._record).st_size, 0))
        return f"{record['name']} {record['version']}"

    def tell_memory(self) -> None:
        workers = [member.place.pid for member in self.ready()]
        bill(self.place.model_bytes, workers, [os.getpid(), self.loader])

    def close(self) -> None:
        os.close(self._orders)
        os.close(self._record)
