"""The supervisor: starts workers, replaces those that end, reloads, and shuts down. Linux only.

It loads no model and has no threads, so that it always handles signals. The workers of one loaded
model are a generation; a reload starts the next generation, which takes over when all its workers
are ready.
"""

import logging
import signal
import socket
import sys
import time
from contextlib import suppress

from ..distribution import engine_and_template
from ..errors import CrashLoop, StartupError
from ..service import Service
from ..settings import ServingSettings
from ..telemetry.log_handler import dropped_lines
from .fork import adopt_orphans, reap
from .generation import Generation, WorkerSlot, kill
from .manifest_watch import ManifestWatch
from .ports import bind_each, links, url
from .scoreboard import Command, Scoreboard
from .signal_wakeup import SignalWakeup

BUSY_INTERVAL = 0.02
IDLE_INTERVAL = 0.25
"""Seconds between two checks, while processes start or drain, and otherwise."""
CRASH_LOOP_SECONDS = 10.0
CRASH_LOOP_COUNT = 5
"""A worker that ends 5 times in a row, each within 10 seconds of its start, is a crash loop."""
MAX_LOADER_BACKOFF = 30.0
KILL_AFTER = 3.0
"""Seconds after the drain timeout in which a worker cancels its requests and ends by itself."""

logger = logging.getLogger("server")


def supervise(service: Service, settings: ServingSettings) -> None:
    """Serve with several workers until a signal ends the service.

    Raises StartupError if the service does not start, CrashLoop if a worker ends again and again.
    """
    try:
        supervisor = Supervisor(service, settings)
    except OSError as error:
        raise StartupError(
            f"the system has no room for {settings.workers} workers: {error.strerror}. Raise its "
            "limits (ulimit -a), or set SERVING_WORKERS to fewer."
        ) from None
    try:
        supervisor.run()
    finally:
        supervisor.kill()


class Supervisor:
    """The parent of all processes of a service."""

    def __init__(self, service: Service, settings: ServingSettings) -> None:
        self._service = service
        self._settings = settings
        self._listeners = bind_each(settings.host, settings.port, settings.workers)
        self._scoreboard = Scoreboard(2 * (settings.workers + 1))
        self._wakeup = SignalWakeup()
        self._watch = ManifestWatch(settings.model_dir) if settings.watch else None
        self._serving: Generation | None = None
        self._starting: Generation | None = None
        self._draining: list[Generation] = []
        self._reload_requested = False
        self._retry_at = 0.0
        self._lost_loaders = 0
        self._shutting_down = False
        self._last_check = time.monotonic()

    def run(self) -> None:
        """Start, then supervise the processes until a signal has ended all of them."""
        adopt_orphans()
        self._start_generation()
        while self._serving or self._starting or self._draining:
            self._wakeup.wait(BUSY_INTERVAL if self._starting or self._draining else IDLE_INTERVAL)
            for pid, code in reap():
                self._on_exit(pid, code)
            while self._wakeup.signals:
                if self._handle_signal(self._wakeup.signals.pop(0)):
                    return
            self._check()
        logger.info("stopped")

    def kill(self) -> None:
        """Kill all processes that have not ended."""
        self._wakeup.close()
        for generation in self._generations():
            generation.kill()

    def _generations(self) -> list[Generation]:
        return [each for each in (self._serving, self._starting, *self._draining) if each]

    def _start_generation(self) -> None:
        try:
            self._starting = Generation.start(
                self._service, self._settings, self._scoreboard, self._listeners, self._serving
            )
        except OSError as error:
            self._on_start_failed(1, f"cannot start the loader: {error.strerror}")

    # Events: a signal, the end of a process.

    def _handle_signal(self, sig: int) -> bool:
        """Handle a signal; return whether all processes are to be killed."""
        if sig == signal.SIGHUP:
            self._reload_requested = True
            return False
        if self._shutting_down or not any(generation.serving for generation in self._generations()):
            return True
        logger.info("draining")
        self._shut_down(Command.STOP if sig == signal.SIGINT else Command.DRAIN)
        return False

    def _shut_down(self, command: Command) -> None:
        self._shutting_down = True
        for generation in (self._serving, self._starting):
            if generation:
                self._drain(generation, command)
        self._serving = None
        self._starting = None
        if command == Command.STOP:
            for generation in self._draining:
                generation.send(command)

    def _drain(self, generation: Generation, command: Command) -> None:
        delay = 0.0 if command == Command.STOP else self._settings.drain_delay
        generation.drain(command, delay + self._settings.drain_timeout + KILL_AFTER)
        self._draining.append(generation)

    def _on_exit(self, pid: int, code: int) -> None:
        """Handle the end of a process: find its generation and its slot."""
        for generation in self._generations():
            if pid == generation.loader:
                not_forked = generation.on_loader_exit()
                self._on_loader_exit(generation, not_forked, pid, code)
            for worker in generation.alive():
                if pid == worker.slot.pid:
                    worker.end()
                    self._on_worker_exit(generation, worker, pid, code)

    def _on_loader_exit(
        self, generation: Generation, not_forked: list[WorkerSlot], pid: int, code: int
    ) -> None:
        if generation is self._starting:
            self._on_start_failed(code, f"the loader {generation.problem or how(code)}")
        elif generation is self._serving:
            logger.warning("the loader (process %d) %s; loading again", pid, how(code))
            self._lost_loaders += 1
            for worker in not_forked:
                self._reject_connections(worker)

    def _on_worker_exit(
        self, generation: Generation, worker: WorkerSlot, pid: int, code: int
    ) -> None:
        if generation in self._draining:
            if self._shutting_down:
                self._reject_connections(worker)
            return
        starting = generation is self._starting
        if starting and code == StartupError.exit_code:
            self._on_start_failed(code, f"a worker {how(code)} before it was ready")
            return
        self._scoreboard.restarts += 1
        logger.warning("worker %d (process %d) %s", worker.number, pid, how(code))
        soon = starting or worker.age() < CRASH_LOOP_SECONDS
        worker.crashes = worker.crashes + 1 if soon else 1
        if worker.crashes >= CRASH_LOOP_COUNT:
            self._on_crash_loop(generation, code)
        elif generation.loaded:
            generation.start_worker(worker)
        else:
            self._reject_connections(worker)

    def _on_crash_loop(self, generation: Generation, code: int) -> None:
        if generation is self._starting:
            self._on_start_failed(code, f"crash loop: a worker {how(code)} again and again")
            return
        raise CrashLoop(
            f"crash loop: a worker {how(code)}, for the {CRASH_LOOP_COUNT}th time in a row "
            f"within {CRASH_LOOP_SECONDS:.0f} s of its start. Check the log above, and "
            "whether the system is out of memory."
        )

    def _reject_connections(self, worker: WorkerSlot) -> None:
        """Nothing replaces a worker for now: the other workers get the connections.

        Those that wait in its socket would time out; they are reset.
        """
        worker.rejects = True
        for generation in self._generations():
            if generation.workers[worker.number].accepts_connections():
                return  # on the same socket
        with suppress(OSError):  # it does not listen
            self._listeners[worker.number].shutdown(socket.SHUT_RDWR)

    def _on_start_failed(self, code: int, problem: str) -> None:
        """Discard the generation that was starting."""
        logged = code == StartupError.exit_code
        if self._serving is None:
            if logged:
                sys.exit(code)
            raise StartupError(
                f"{problem}. Check the log above, and whether the system is out of memory."
            )
        if self._starting:
            self._drain(self._starting, Command.RETIRE)
            self._starting = None
        if not logged:
            logger.error("reload failed, %s stays: %s", self._serving.model(), problem)
        if self._lost_loaders:
            backoff = min(MAX_LOADER_BACKOFF, 2.0**self._lost_loaders)
            self._retry_at = time.monotonic() + backoff
            self._lost_loaders += 1
        else:
            self._scoreboard.reloads_failed += 1

    # Checks at every interval.

    def _check(self) -> None:
        now = time.monotonic()
        seconds = now - self._last_check
        self._last_check = now
        self._check_draining()
        self._check_hangs(seconds)
        self._check_loaders(seconds)
        self._scoreboard.lines_dropped = dropped_lines()
        if self._starting and self._starting.advance():
            self._promote(self._starting)
        if self._watch is not None and self._watch.changed():
            self._reload_requested = True
        due = self._reload_requested or (self._lost_loaders and now > self._retry_at)
        if due and self._serving and not self._starting and not self._draining:
            if self._reload_requested:
                self._lost_loaders = 0
            self._reload_requested = False
            self._start_generation()

    def _check_draining(self) -> None:
        for generation in self._draining[:]:
            if generation.ended():
                self._draining.remove(generation)
                generation.close()
                if self._serving and generation.number < self._serving.number:
                    self._serving.log_memory()
            elif generation.overdue():
                logger.warning("drain timeout: killing the workers that have not ended")
                generation.kill()

    def _check_hangs(self, seconds: float) -> None:
        for generation in self._generations():
            alive = generation.alive()
            start_timeout = generation.start_timeout(self._settings.load_timeout) if alive else 0
            for worker in alive:
                if worker.hangs(seconds, self._settings.hang_timeout, start_timeout):
                    logger.warning("worker %d hangs: killing it", worker.number)
                    kill(worker.slot.pid)
                    if generation is self._starting:
                        self._on_start_failed(1, "a worker hangs before it is ready")
                elif generation is self._serving and worker.overdue() and not worker.rejects:
                    self._reject_connections(worker)

    def _check_loaders(self, seconds: float) -> None:
        settings = self._settings
        for generation in (self._serving, self._starting):
            if generation and generation.loader_fails(
                seconds, settings.load_timeout, settings.hang_timeout
            ):
                logger.warning("the loader %s: killing it", generation.problem)
                kill(generation.loader)

    def _promote(self, generation: Generation) -> None:
        """Make the generation that was starting the one that serves: all its workers are ready."""
        old = self._serving
        self._serving = generation
        self._starting = None
        if old is None:
            base = url(self._listeners[0])
            logger.info("listening on %s", base, extra=engine_and_template())
            logger.info(links(generation.model(), base, self._settings))
            generation.log_memory()
            return
        self._drain(old, Command.RETIRE)
        if not self._lost_loaders:
            self._scoreboard.reloads_done += 1
        self._lost_loaders = 0
        logger.info("reloaded: %s replaces %s", generation.model(), old.model())


def how(code: int) -> str:
    """Describe how a process ended, for a log line."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
