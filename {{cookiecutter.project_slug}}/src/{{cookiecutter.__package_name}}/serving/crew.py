"""A loader and the workers that it forked: one generation of the processes that serve."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from socket import socket

from ..errors import ServiceExit
from ..settings import Settings
from .board import Board, Order, Place, State
from .loader import ORDER, MakeApp, load_and_fork
from .processes import fork, kill

logger = logging.getLogger("reload")

SILENT_START = 60.0
"""Seconds in which a worker must be ready: it has only to warm up."""
LONGEST_STEP = 0.5
"""A supervisor that was stopped itself does not hold its own absence against its workers."""


class Member:
    """One worker, as the supervisor sees it.

    listener: the number of the socket that it serves. place: where it shows how it is.
    """

    def __init__(self, listener: int, place: Place) -> None:
        self.listener = listener
        self.place = place
        self.falls = 0
        """How many times in a row its process ended soon after it had begun."""
        self._beats = 0
        self._silence = 0.0
        self._begun = 0.0

    def begin(self) -> None:
        """A new process takes the place."""
        self.place.pid, self.place.order = 0, Order.SERVE
        self.place.state = State.STARTING
        self._silence = 0.0
        self._begun = time.monotonic()

    def end(self) -> None:
        """Its process has ended."""
        self.place.pid = 0
        self.place.state = State.EMPTY

    def kill(self) -> None:
        """End its process at once."""
        kill(self.place.pid)

    def age(self) -> float:
        """Seconds since its process began."""
        return time.monotonic() - self._begun

    def hangs(self, seconds: float, patience: float) -> bool:
        """Whether its event loop has stood still for too long; asked every so many seconds."""
        if self.place.beats != self._beats:
            self._beats, self._silence = self.place.beats, 0.0
            return False
        self._silence += min(seconds, LONGEST_STEP)
        if self.place.state == State.STARTING:
            patience = max(patience, SILENT_START)
        return self._silence > patience and self.place.state in {State.STARTING, State.READY}


class Crew:
    """The processes of one generation, and where they are at."""

    def __init__(
        self,
        settings: Settings,
        board: Board,
        listeners: Sequence[socket],
        generation: int,
        import_app: Callable[[], MakeApp],
        predecessor: "Crew | None" = None,
    ) -> None:
        """Start the loader. Generations take turns with two sets of places."""
        start = generation % 2 * (len(listeners) + 1)
        self.generation = generation
        self.place = board.places[start]
        self.members = [
            Member(number, board.places[start + 1 + number]) for number in range(len(listeners))
        ]
        self._deadline = 0.0
        self.record = os.memfd_create("signature")
        self.place.state = State.STARTING
        reading, self._orders = os.pipe()
        files = (reading, self.record, predecessor.record if predecessor else None)

        def run() -> None:
            os.close(self._orders)
            if predecessor is not None:
                os.close(predecessor._orders)
            try:
                load_and_fork(settings, board, start, listeners, import_app, files, supervisor)
            except ServiceExit as error:
                if predecessor is None:
                    raise
                logger.error("reload failed, %s stays: %s", predecessor.model(), error)  # noqa: TRY400
                sys.exit(error.exit_code)

        supervisor = os.getpid()
        self.loader = self.place.pid = fork(run, supervisor, "loader")
        os.close(reading)

    @property
    def loaded(self) -> bool:
        """Whether the loader is there and can fork."""
        return self.place.state == State.LOADED

    def begin(self, member: Member) -> None:
        """Have a worker forked."""
        member.begin()
        try:
            os.write(self._orders, ORDER.pack(member.place.number, member.listener))
        except BrokenPipeError:
            pass  # the loader has just ended, which is noticed next

    def living(self) -> list[Member]:
        """The workers that have a process."""
        return [member for member in self.members if member.place.state != State.EMPTY]

    def ready(self) -> list[Member]:
        """The workers that serve."""
        return [member for member in self.members if member.place.state == State.READY]

    def advance(self) -> bool:
        """Take the next step towards a complete crew; return whether it is complete.

        The first worker comes alone: what is wrong with one is wrong with all, and is said once.
        """
        first, *others = self.members
        if self.loaded and first.place.state == State.EMPTY:
            self.begin(first)
        elif first.place.state == State.READY:
            for member in others:
                if member.place.state == State.EMPTY:
                    self.begin(member)
        return len(self.ready()) == len(self.members)

    def lost_loader(self) -> None:
        """The loader has ended, and with it what it had not begun."""
        self.loader = 0
        self.place.state = State.EMPTY
        for member in self.living():
            if not member.place.pid:
                member.end()

    def dismiss(self, order: Order, seconds: float) -> None:
        """Order the workers to end within so many seconds; nobody needs the loader any more."""
        self._deadline = time.monotonic() + seconds
        kill(self.loader)
        self.order(order)

    def order(self, order: Order) -> None:
        """Tell the workers; those that serve nobody yet end at once."""
        for member in self.living():
            member.place.order = order
            if member.place.state == State.STARTING:
                member.kill()

    def gone(self) -> bool:
        """Whether all have ended."""
        return not self.loader and not self.living()

    def overdue(self) -> bool:
        """Whether they should have ended by now."""
        return time.monotonic() > self._deadline

    def kill(self) -> None:
        """End every process at once."""
        kill(self.loader)
        for member in self.living():
            member.kill()

    def model(self) -> str:
        """Name and version of the model that its loader loaded."""
        record = json.loads(os.pread(self.record, os.fstat(self.record).st_size, 0))
        return f"{record['name']} {record['version']}"

    def close(self) -> None:
        """Give back what the supervisor holds for these processes, which have ended."""
        os.close(self._orders)
        os.close(self.record)
