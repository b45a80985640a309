"""A worker process: it serves, counts heartbeats and handles the commands in its slot."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ServiceExit, StartupError
from ..settings import ServingSettings
from .scoreboard import Command, Scoreboard, SharedMetrics, State
from .served_app import ServedApp
from .server import Server

WAIT_INTERVAL = 0.02
"""Seconds between two looks at the command of the supervisor, before the worker serves."""


def serve_as_worker(
    app: ServedApp,
    settings: ServingSettings,
    scoreboard: Scoreboard,
    slot: int,
    listener: socket.socket,
) -> None:
    """Serve an application whose model is loaded until the supervisor sends a command to end.

    slot: number of the worker's slot. Raises StartupError if the application does not start.
    """
    app.state.metrics.share(SharedMetrics(scoreboard, scoreboard.slots[slot]))
    server = WorkerServer(app, settings, scoreboard, slot)
    try:
        server.run(sockets=[listener])
    except ServiceExit:
        raise
    except Exception as error:
        if server.started:
            raise
        raise StartupError(f"a worker did not start: {error}") from error


class WorkerServer(Server):
    """The server of one worker."""

    def __init__(
        self, app: ServedApp, settings: ServingSettings, scoreboard: Scoreboard, slot: int
    ) -> None:
        super().__init__(app, settings)
        self._slot = scoreboard.slots[slot]
        self._publish = app.state.metrics.publish
        self._delay = settings.drain_delay
        self._retired = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._listeners = [listener.dup() for listener in sockets or ()]
        await self.lifespan.startup()
        self._slot.state = State.WARM
        while self._slot.command == Command.WAIT:
            self.tick()
            await asyncio.sleep(WAIT_INTERVAL)
        await super().startup(sockets)
        self._publish()
        self._slot.state = State.READY

    def tick(self) -> None:
        slot = self._slot
        if not self.model_fails():  # the supervisor replaces a worker without heartbeats
            slot.heartbeats += 1
        self._publish()
        if slot.command == Command.STOP:
            self.drain(0)
        elif slot.command > Command.SERVE and not self.should_exit:
            self._retired = slot.command == Command.RETIRE
            self.drain(self._delay)

    def report_not_ready(self) -> None:
        self._slot.state = State.DRAINING
        if not self._retired:
            super().report_not_ready()
            return
        for server in self.servers:
            server.close()  # new connections wait for the successor, on the same socket

    def stop_accepting(self) -> None:
        if not self._retired:
            for listener in self._listeners:
                # The supervisor holds it too: after a mere close, clients would wait in its queue.
                listener.shutdown(socket.SHUT_RDWR)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._publish()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: the supervisor handles signals and sends commands in the slot."""
        yield
