"""Keeps several workers serving: starts them, replaces what falls, reloads, and ends them.

It loads nothing and has no threads, so nothing that happens to a model makes it deaf. The workers
that serve one loaded model are a crew; a reload is another crew that takes over when it is ready.
"""

import logging
import signal
import socket
import sys
import time

from ..errors import CrashLoop, ServiceExit, StartupError
from ..settings import Settings
from .bell import Bell
from .board import Order
from .crew import Crew, ImportApp, Member
from .ports import url
from .watch import Watch

QUICK, IDLE = 0.02, 0.25
SOON, FALLS = 10.0, 5
"""A worker that ends so many times in a row within so many seconds of its start is a crash loop."""
LONGEST_PAUSE = 30.0
SLACK = 3.0
"""Seconds beyond the grace period in which a worker cuts its own work and ends."""

logger = logging.getLogger("server")


def supervise(settings: Settings, import_app: ImportApp) -> None:
    """Serve with several workers until a signal ends it.

    Raises StartupError if there is nothing to serve, CrashLoop if workers do not last.
    """
    supervisor = Supervisor(settings, import_app, kind_of_crew())
    try:
        supervisor.run()
    finally:
        supervisor.kill()


def kind_of_crew() -> type[Crew]:
    """Where workers come from on this system."""
    if sys.platform == "linux":
        from .forked import ForkedCrew  # noqa: PLC0415 - does not import elsewhere

        return ForkedCrew
    from .spawned import SpawnedCrew  # noqa: PLC0415

    return SpawnedCrew


class Supervisor:
    """The parent of all processes of a service. kind: where its workers come from."""

    def __init__(self, settings: Settings, import_app: ImportApp, kind: type[Crew]) -> None:
        self._settings = settings
        self._import_app = import_app
        self._kind = kind
        self._listeners = kind.listen(settings)
        self._board = kind.board(2 * (settings.workers + 1))
        self._bell = Bell()
        self._watch = Watch(settings.model_dir) if settings.watch else None
        self._serving: Crew | None = None
        self._coming: Crew | None = None
        self._leaving: list[Crew] = []
        self._reload_asked = False
        self._pause_until = 0.0
        self._lost_loaders = 0
        self._ending = False
        self._looked = time.monotonic()

    def run(self) -> None:
        """Start, then look after the processes until the last has ended as ordered."""
        self._bring()
        while self._serving or self._coming or self._leaving:
            self._bell.wait(QUICK if self._coming or self._leaving else IDLE)
            for pid, code in self._kind.fallen(self._crews()):
                self._fell(pid, code)
            while self._bell.signals:
                if self._obey(self._bell.signals.pop(0)):
                    return
            self._look_after()
        logger.info("stopped")

    def kill(self) -> None:
        """End every process that is left, at once."""
        self._bell.close()
        for crew in self._crews():
            crew.kill_all()

    def _crews(self) -> list[Crew]:
        return [crew for crew in (self._serving, self._coming, *self._leaving) if crew]

    def _bring(self) -> None:
        """Start the next crew."""
        self._coming = self._kind.start(
            self._settings, self._import_app, self._board, self._listeners, self._serving
        )

    # What happens.

    def _obey(self, sig: int) -> bool:
        """Carry out a signal; return whether everything ends at once."""
        if sig == getattr(signal, "SIGHUP", None):
            self._reload_asked = True
            return False
        if self._ending or self._serving is None:
            return True
        logger.info("draining")
        self._end(Order.STOP if sig == signal.SIGINT else Order.DRAIN)
        return False

    def _end(self, order: Order) -> None:
        self._ending = True
        for crew in (self._serving, self._coming):
            if crew:
                self._dismiss(crew, order)
        self._serving = self._coming = None
        if self._listeners.count(self._listeners[0]) > 1:
            self._listeners[0].close()  # each worker has its own file for it
        if order == Order.STOP:
            for crew in self._leaving:
                crew.order(order)

    def _dismiss(self, crew: Crew, order: Order) -> None:
        delay = 0.0 if order == Order.STOP else self._settings.drain_delay
        crew.dismiss(order, delay + self._settings.drain_timeout + SLACK)
        self._leaving.append(crew)

    def _fell(self, pid: int, code: int) -> None:
        """A process has ended: find out which, and what that means."""
        for crew in self._crews():
            if pid == crew.loader:
                crew.lost_loader()
                self._loader_fell(crew, pid, code)
            for member in crew.living():
                if pid == member.place.pid:
                    member.end()
                    self._worker_fell(crew, member, pid, code)

    def _loader_fell(self, crew: Crew, pid: int, code: int) -> None:
        if crew is self._coming:
            self._fail(code, f"the process that loads the model {how(code)}")
        elif crew is self._serving:
            logger.warning("the loader (process %d) %s; loading again", pid, how(code))
            self._lost_loaders += 1

    def _worker_fell(self, crew: Crew, member: Member, pid: int, code: int) -> None:
        if crew is self._coming:
            self._fail(code, f"a worker {how(code)} before it was ready")
        elif crew is self._serving:
            self._board.restarts += 1
            logger.warning("worker %d (process %d) %s", member.number, pid, how(code))
            member.falls = member.falls + 1 if member.age() < SOON else 1
            if member.falls >= FALLS:
                raise CrashLoop(
                    f"a worker {how(code)}, as the last {FALLS} in its place did within {SOON:.0f} "
                    "s of their start: a crash loop. The log says more, or memory is short."
                )
            if crew.loaded:
                crew.begin(member)
            else:  # nobody can take its place for now: let others have its connections
                self._listeners[member.number].shutdown(socket.SHUT_RDWR)

    def _fail(self, code: int, reason: str) -> None:
        """The crew that was coming will not come."""
        told = code == StartupError.exit_code
        if self._serving is None:
            if told:
                sys.exit(code)
            raise StartupError(f"{reason}. The log says more, or memory is short.")
        if self._coming:
            self._dismiss(self._coming, Order.RETIRE)
            self._coming = None
        if not told:
            logger.error("reload failed, %s stays: %s", self._serving.model(), reason)
        if self._lost_loaders:
            self._pause_until = time.monotonic() + min(LONGEST_PAUSE, 2.0**self._lost_loaders)
            self._lost_loaders += 1
        else:
            self._board.reloads_failed += 1

    # What is due.

    def _look_after(self) -> None:
        now = time.monotonic()
        since, self._looked = now - self._looked, now
        for crew in self._leaving[:]:
            if crew.gone():
                self._leaving.remove(crew)
                crew.close()
                if self._serving and crew.generation < self._serving.generation:
                    self._serving.tell_memory()
            elif crew.overdue():
                logger.warning("work that did not end in time is cut")
                crew.kill_all()
        for crew in self._crews():
            for member in crew.living():
                if member.hangs(since, crew.start_patience, self._settings.hang_timeout):
                    logger.warning("worker %d hangs", member.number)
                    crew.kill(member.place.pid)
        if self._coming and self._coming.advance():
            self._promote(self._coming)
        if self._watch is not None and self._watch.changed():
            self._reload_asked = True
        due = self._reload_asked or (self._lost_loaders and now > self._pause_until)
        if due and self._serving and not self._coming and not self._leaving:
            if self._reload_asked:
                self._lost_loaders = 0
            self._reload_asked = False
            try:
                self._bring()
            except ServiceExit as error:
                logger.error("reload failed, %s stays: %s", self._serving.model(), error)  # noqa: TRY400
                self._fail(error.exit_code, "")

    def _promote(self, crew: Crew) -> None:
        """The crew that was coming is complete."""
        old, self._serving, self._coming = self._serving, crew, None
        if old is None:
            logger.info("listening on %s", url(self._listeners[0]))
            crew.tell_memory()
            return
        self._dismiss(old, Order.RETIRE)
        if not self._lost_loaders:
            self._board.reloads_done += 1
        self._lost_loaders = 0
        logger.info("reloaded: %s replaces %s", crew.model(), old.model())


def how(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
