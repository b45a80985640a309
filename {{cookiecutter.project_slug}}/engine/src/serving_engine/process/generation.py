"""One generation: a loader, and the workers that it forked, which share its copy of the model.

Generations take turns with two sets of slots. The first worker of a generation starts alone: a
problem that all workers have is then logged once.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from socket import socket
from typing import Self

from ..errors import ServiceExit
from ..service import Service
from ..settings import ServingSettings
from .fork import fork
from .loader_channel import LoaderChannel
from .memory_report import log_memory_report
from .scoreboard import Command, Scoreboard, Slot, State

WARM_UP_TIMEOUT = 60.0
"""Seconds from the fork of a worker until it is ready: the model is loaded already."""

FORK_TIMEOUT = 1.0
"""Seconds from a request to the loader until the worker is forked; then connections are rejected
instead of waiting for it."""

LONGEST_STEP = 0.5
"""Most seconds between two checks that count: after the supervisor itself was stopped for a while,
it does not take its workers for hung."""

logger = logging.getLogger("reload")


class Heartbeat:
    """How long a process has counted no heartbeat in its slot."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._counted = 0
        self._silence = 0.0

    def restart(self) -> None:
        """Begin to count anew, for a new process."""
        self._silence = 0.0

    def silence(self, seconds: float) -> float:
        """Return the seconds since the last heartbeat. seconds: since the last call."""
        if self._slot.heartbeats != self._counted:
            self._counted = self._slot.heartbeats
            self._silence = 0.0
        else:
            self._silence += min(seconds, LONGEST_STEP)
        return self._silence


class WorkerSlot:
    """One worker of a generation; a process that crashes is replaced by another.

    number: of the worker, and of the socket that it serves. slot: its slot of the scoreboard.
    """

    def __init__(self, number: int, slot: Slot) -> None:
        self.number = number
        self.slot = slot
        self.crashes = 0
        """Number of consecutive processes that ended soon after their start."""
        self.rejects = False
        """Whether its socket rejects connections until another process listens."""
        self._heartbeat = Heartbeat(slot)
        self._started = 0.0

    def start(self, command: Command) -> None:
        """Prepare the slot for a new process."""
        self.slot.pid = 0
        self.slot.command = command
        self.slot.state = State.STARTING
        self.rejects = False
        self._heartbeat.restart()
        self._started = time.monotonic()

    def end(self) -> None:
        """Empty the slot: its process has ended."""
        self.slot.pid = 0
        self.slot.state = State.EMPTY

    def age(self) -> float:
        """Return the seconds since its process was started."""
        return time.monotonic() - self._started

    def hangs(self, seconds: float, hang_timeout: float, start_timeout: float) -> bool:
        """Return whether its event loop has sent no heartbeat for too long.

        seconds: since the last call of this method. start_timeout: see `Generation`.
        """
        silence = self._heartbeat.silence(seconds)
        if self.slot.state == State.DRAINING:
            return False
        starting = self.slot.state == State.STARTING
        return silence > (start_timeout if starting else hang_timeout)

    def accepts_connections(self) -> bool:
        """Return whether its process accepts connections, also during a drain."""
        if self.slot.state == State.DRAINING:
            return self.slot.command != Command.RETIRE
        return self.slot.state == State.READY

    def overdue(self) -> bool:
        """Return whether the loader should have forked its process by now."""
        return not self.slot.pid and self.age() > FORK_TIMEOUT


class Generation:
    """The loader and the workers of one loaded model, as the supervisor sees them."""

    def __init__(self, scoreboard: Scoreboard, workers: int, number: int) -> None:
        self.number = number
        self.first_slot = number % 2 * (workers + 1)
        self.slot = scoreboard.slots[self.first_slot]
        """The loader's slot."""
        slots = scoreboard.slots[self.first_slot + 1 : self.first_slot + 1 + workers]
        self.workers = [WorkerSlot(number, slot) for number, slot in enumerate(slots)]
        self.loader = 0
        """Process id of the loader; 0 if it has ended."""
        self.serving = False
        """Whether its workers were told to serve; else they wait for it, and nothing listens."""
        self.channel = LoaderChannel.open()
        self._deadline = 0.0
        self.problem = ""
        """Why the loader is killed."""
        self._heartbeat = Heartbeat(self.slot)
        self._started = time.monotonic()

    @classmethod
    def start(
        cls,
        service: Service,
        settings: ServingSettings,
        scoreboard: Scoreboard,
        listeners: Sequence[socket],
        predecessor: Self | None,
    ) -> Self:
        """Fork the loader of the next generation. Raises OSError."""
        number = predecessor.number + 1 if predecessor else 0
        generation = cls(scoreboard, len(listeners), number)
        replaced = predecessor.channel if predecessor else None
        supervisor = os.getpid()

        def run() -> None:
            # The supervisor does not import what the loader needs: it stays small.
            from .loader import load_and_fork  # noqa: PLC0415

            generation.channel.close_requests_out()
            if replaced is not None:
                replaced.close_requests_out()
            try:
                load_and_fork(
                    service,
                    settings,
                    scoreboard,
                    listeners,
                    slot=generation.slot,
                    channel=generation.channel,
                    replaced=replaced,
                    supervisor=supervisor,
                )
            except ServiceExit as error:
                if predecessor is None:
                    raise
                logger.error("reload failed, %s stays: %s", predecessor.model(), error)  # noqa: TRY400
                sys.exit(error.exit_code)

        generation.slot.state = State.STARTING
        try:
            generation.loader = generation.slot.pid = fork(run, supervisor, "loader")
        except OSError:
            generation.slot.state = State.EMPTY
            generation.close()
            raise
        finally:
            generation.channel.close_requests_in()
        return generation

    @property
    def loaded(self) -> bool:
        """Whether the loader can fork workers."""
        return self.slot.state == State.LOADED

    def start_worker(self, worker: WorkerSlot) -> None:
        """Request a process for a worker from the loader."""
        worker.start(Command.SERVE if self.serving else Command.WAIT)
        self.channel.request_worker(worker.slot.number, worker.number)

    def advance(self) -> bool:
        """Start the workers whose turn it is; return whether all are ready.

        None of them listens before all are warm: a signal that ends the service meanwhile loses no
        request.
        """
        first, *others = self.workers
        warm = {State.WARM, State.READY}
        if self.loaded and first.slot.state == State.EMPTY:
            self.start_worker(first)
        elif first.slot.state in warm:
            for worker in others:
                if worker.slot.state == State.EMPTY:
                    self.start_worker(worker)
        if not self.serving and all(worker.slot.state in warm for worker in self.workers):
            self.serving = True
            for worker in self.workers:
                worker.slot.command = Command.SERVE
        return len(self.ready()) == len(self.workers)

    def alive(self) -> list[WorkerSlot]:
        """The workers that have a process."""
        return [worker for worker in self.workers if worker.slot.state != State.EMPTY]

    def ready(self) -> list[WorkerSlot]:
        """The workers that serve."""
        return [worker for worker in self.workers if worker.slot.state == State.READY]

    def on_loader_exit(self) -> list[WorkerSlot]:
        """The loader has ended: empty and return the slots of workers that it had not forked."""
        self.loader = 0
        self.slot.state = State.EMPTY
        not_forked = [worker for worker in self.alive() if not worker.slot.pid]
        for worker in not_forked:
            worker.end()
        return not_forked

    def drain(self, command: Command, timeout: float) -> None:
        """Make the workers end within `timeout` seconds, and the loader at once."""
        self._deadline = time.monotonic() + timeout
        kill(self.loader)
        self.send(command)

    def send(self, command: Command) -> None:
        """Send the workers a command to end; those that do not serve yet are killed."""
        for worker in self.alive():
            waits = worker.slot.command == Command.WAIT
            worker.slot.command = command
            if waits or worker.slot.state == State.STARTING:
                kill(worker.slot.pid)

    def loader_fails(self, seconds: float, load_timeout: float, hang_timeout: float) -> bool:
        """Return whether the loader must be killed; `problem` is the reason.

        seconds: since the last call of this method.
        """
        silence = self._heartbeat.silence(seconds)
        if not self.loader or self.problem:
            return False
        if self.loaded and silence > hang_timeout:
            self.problem = "hangs"
        elif not self.loaded and time.monotonic() - self._started > load_timeout:
            self.problem = f"took longer than {load_timeout:g} s to load (SERVING_LOAD_TIMEOUT)"
        return bool(self.problem)

    def ended(self) -> bool:
        """Return whether all processes have ended."""
        return not self.loader and not self.alive()

    def overdue(self) -> bool:
        """Return whether the timeout of the drain has passed."""
        return time.monotonic() > self._deadline

    def kill(self) -> None:
        """Kill every process."""
        for pid in (self.loader, *(worker.slot.pid for worker in self.alive())):
            kill(pid)

    def model(self) -> str:
        """Return the name and version of the model."""
        record = self.channel.read_record()
        return f"{record['name']} {record['version']}"

    def shares_model(self) -> bool:
        """Return whether the workers share the model of the loader, not load one each."""
        shares: bool = self.channel.read_record()["probes"]["fork_safe"]
        return shares

    def start_timeout(self, load_timeout: float) -> float:
        """Return the seconds that a worker may need before it is warm."""
        return WARM_UP_TIMEOUT + (0 if self.shares_model() else load_timeout)

    def log_memory(self) -> None:
        """Log how much memory the processes take."""
        workers = [worker.slot.pid for worker in self.ready()]
        others = [os.getpid(), self.loader]
        log_memory_report(self.slot.model_bytes, workers, others, shared=self.shares_model())

    def close(self) -> None:
        """Close the files that the supervisor holds for processes that have ended."""
        self.channel.close()


def kill(pid: int) -> None:
    """Kill a child, even a stopped one; do nothing if `pid` is 0 or it has ended."""
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
