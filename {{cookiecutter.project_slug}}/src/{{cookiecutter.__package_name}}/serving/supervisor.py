"""Keeps several workers serving: starts them, replaces what falls, reloads, and ends them.

It loads nothing and has no threads, so nothing that happens to a model makes it deaf. A loader
process loads the model and forks the workers (`loader.py`); they and their loader are a crew. A
reload is another crew that takes over when it is ready. Linux only.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from ..errors import CrashLoop, StartupError
from ..settings import Settings
from .board import Board, Order
from .crew import Crew, Member
from .loader import MakeApp
from .memory import bill
from .ports import bind_each, url
from .processes import ORDERS, adopt_orphans, dead_children, how
from .watch import Watch

QUICK, IDLE = 0.02, 0.25
SOON, FALLS = 10.0, 5
"""A worker that ends so many times in a row within so many seconds of its start is a crash loop."""
LONGEST_PAUSE = 30.0
SLACK = 3.0
"""Seconds beyond the grace period in which a worker cuts its own work and ends."""

logger = logging.getLogger("server")


def supervise(settings: Settings, import_app: Callable[[], MakeApp]) -> None:
    """Serve with several workers until a signal ends it.

    import_app: imports the application and returns what makes it; called in the loader only.
    Raises StartupError if there is nothing to serve, CrashLoop if workers do not last.
    """
    listeners = bind_each(settings.host, settings.port, settings.workers)
    supervisor = Supervisor(settings, listeners, import_app)
    try:
        supervisor.run()
    finally:
        supervisor.kill()


class Supervisor:
    """The parent of all processes of a service."""

    def __init__(
        self,
        settings: Settings,
        listeners: list[socket.socket],
        import_app: Callable[[], MakeApp],
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._import_app = import_app
        self._board = Board(2 * (len(listeners) + 1))
        self._signals: list[int] = []
        self._watch = Watch(settings.model_dir) if settings.watch else None
        self._bell = _install_bell(self._signals)
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
        adopt_orphans()
        self._bring(0)
        while self._serving or self._coming or self._leaving:
            busy = self._coming or self._leaving
            select.select([self._bell], [], [], QUICK if busy else IDLE)
            while select.select([self._bell], [], [], 0)[0]:
                os.read(self._bell, 512)
            for pid, code in dead_children():
                self._fell(pid, code)
            while self._signals:
                if self._obey(self._signals.pop(0)):
                    return
            self._look_after()
        logger.info("stopped")

    def kill(self) -> None:
        """End every process that is left, at once."""
        for crew in self._crews():
            crew.kill()

    def _crews(self) -> list[Crew]:
        return [crew for crew in (self._serving, self._coming, *self._leaving) if crew]

    def _bring(self, generation: int) -> None:
        self._coming = Crew(
            self._settings,
            self._board,
            self._listeners,
            generation,
            self._import_app,
            self._serving,
        )

    # What happens.

    def _obey(self, sig: int) -> bool:
        """Carry out a signal; return whether everything ends at once."""
        if sig == signal.SIGHUP:
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
        if order == Order.STOP:
            for crew in self._leaving:
                crew.order(order)

    def _dismiss(self, crew: Crew, order: Order) -> None:
        delay = 0.0 if order == Order.STOP else self._settings.drain_delay
        crew.dismiss(order, delay + max(1.0, self._settings.drain_timeout) + SLACK)
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
            logger.warning("worker %d (process %d) %s", member.listener, pid, how(code))
            member.falls = member.falls + 1 if member.age() < SOON else 1
            if member.falls >= FALLS:
                raise CrashLoop(
                    f"a worker {how(code)}, as the last {FALLS} in its place did within {SOON:.0f} "
                    "s of their start: a crash loop. The log says more, or memory is short."
                )
            if crew.loaded:
                crew.begin(member)
            else:  # nobody can take its place for now: let others have its connections
                self._listeners[member.listener].shutdown(socket.SHUT_RDWR)

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
                if self._serving and not self._leaving:
                    self._bill(self._serving)
            elif crew.overdue():
                logger.warning("work that did not end in time is cut")
                crew.kill()
        for crew in self._crews():
            for member in crew.living():
                if member.hangs(since, self._settings.hang_timeout):
                    logger.warning("worker %d hangs", member.listener)
                    member.kill()
        if self._coming and self._coming.advance():
            self._promote(self._coming)
        if self._watch is not None and self._watch.changed():
            self._reload_asked = True
        due = self._reload_asked or (self._lost_loaders and now > self._pause_until)
        if due and self._serving and not self._coming and not self._leaving:
            if self._reload_asked:
                self._lost_loaders = 0
            self._reload_asked = False
            self._bring(self._serving.generation + 1)

    def _promote(self, crew: Crew) -> None:
        """The crew that was coming is complete."""
        old, self._serving, self._coming = self._serving, crew, None
        if old is None:
            logger.info("listening on %s", url(self._listeners[0]))
            self._bill(crew)
            return
        self._dismiss(old, Order.RETIRE)
        if not self._lost_loaders:
            self._board.reloads_done += 1
        self._lost_loaders = 0
        logger.info("reloaded: %s replaces %s", crew.model(), old.model())

    def _bill(self, crew: Crew) -> None:
        workers = [member.place.pid for member in crew.ready()]
        bill(crew.place.model_bytes, workers, [os.getpid(), crew.loader])


def _install_bell(signals: list[int]) -> int:
    """Let signals, and the end of children, wake who waits for the file that is returned."""
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    for sig in ORDERS:
        signal.signal(sig, lambda number, _frame: signals.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return bell
