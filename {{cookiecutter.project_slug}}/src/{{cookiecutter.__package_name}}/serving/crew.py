"""The workers of one generation, as the supervisor sees them: those that serve one loaded model."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from socket import socket
from typing import Any, ClassVar, Self

from ..settings import Settings
from .board import Board, Order, Place, State

ImportApp = Callable[[], Callable[..., Any]]
"""Imports the application, and returns what makes it of settings and perhaps a loaded model. Called
where the application is served."""

ORDERS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
]
"""Signals that people send. The supervisor counts them; its children leave them to it."""

LONGEST_STEP = 0.5
"""A supervisor that was stopped itself does not hold its own absence against its workers."""


class Member:
    """One worker.

    number: of the worker, and of the socket that it serves. place: where it shows how it is.
    """

    def __init__(self, number: int, place: Place) -> None:
        self.number = number
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

    def age(self) -> float:
        """Seconds since its process began."""
        return time.monotonic() - self._begun

    def hangs(self, seconds: float, start_patience: float, patience: float) -> bool:
        """Whether its event loop has stood still for too long; asked every so many seconds."""
        if self.place.beats != self._beats or self.place.state == State.DRAINING:
            self._beats, self._silence = self.place.beats, 0.0
            return False
        self._silence += min(seconds, LONGEST_STEP)
        return self._silence > (start_patience if self.place.state == State.STARTING else patience)


class Crew(ABC):
    """The workers of one generation. Generations take turns with two sets of places."""

    start_patience: ClassVar[float]
    """Seconds in which a worker that was begun must be ready."""

    def __init__(self, board: Board, workers: int, generation: int) -> None:
        self.generation = generation
        self.number = generation % 2 * (workers + 1)
        self.place = board.places[self.number]
        places = board.places[self.number + 1 : self.number + 1 + workers]
        self.members = [Member(number, place) for number, place in enumerate(places)]
        self.loader = 0
        """The process that begins workers, where there is one."""
        self._deadline = 0.0

    @staticmethod
    @abstractmethod
    def board(places: int) -> Board:
        """Memory that the workers of all crews share with this process."""

    @staticmethod
    @abstractmethod
    def listen(settings: Settings) -> list[socket]:
        """The sockets of the workers. Raises StartupError if the port cannot be had."""

    @classmethod
    @abstractmethod
    def start(
        cls,
        settings: Settings,
        import_app: ImportApp,
        board: Board,
        listeners: Sequence[socket],
        predecessor: Self | None,
    ) -> Self:
        """Start the next generation. Raises ServiceExit if that is known to be of no use."""

    @staticmethod
    @abstractmethod
    def fallen(crews: Iterable["Crew"]) -> list[tuple[int, int]]:
        """Processes that ended: id, and exit code or the negative number of a signal."""

    @property
    def loaded(self) -> bool:
        """Whether workers can be begun."""
        return self.place.state == State.LOADED

    @abstractmethod
    def begin(self, member: Member) -> None:
        """Have a process begun for a worker."""

    @abstractmethod
    def kill(self, pid: int) -> None:
        """End one of its processes at once; 0 is none."""

    @abstractmethod
    def model(self) -> str:
        """Name and version of its model."""

    @abstractmethod
    def tell_memory(self) -> None:
        """Log what its processes take."""

    @abstractmethod
    def close(self) -> None:
        """Give back what this process holds for the others, which have ended."""

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

    def living(self) -> list[Member]:
        """The workers that have a process."""
        return [member for member in self.members if member.place.state != State.EMPTY]

    def ready(self) -> list[Member]:
        """The workers that serve."""
        return [member for member in self.members if member.place.state == State.READY]

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
        self.kill(self.loader)
        self.order(order)

    def order(self, order: Order) -> None:
        """Tell the workers; those that serve nobody yet end at once."""
        for member in self.living():
            member.place.order = order
            if member.place.state == State.STARTING:
                self.kill(member.place.pid)

    def gone(self) -> bool:
        """Whether all have ended."""
        return not self.loader and not self.living()

    def overdue(self) -> bool:
        """Whether they should have ended by now."""
        return time.monotonic() > self._deadline

    def kill_all(self) -> None:
        """End every process at once."""
        for pid in (self.loader, *(member.place.pid for member in self.living())):
            self.kill(pid)
