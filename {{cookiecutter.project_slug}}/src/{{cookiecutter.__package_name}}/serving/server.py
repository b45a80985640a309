"""uvicorn, with the start and the end that a service behind a load balancer needs.

Start: the port is bound before the model is loaded, and it listens only afterwards. A failure ends
the process with its own error, not with a traceback. End: on SIGTERM `/readyz` turns 503 first,
connections are still accepted for a delay, and only then the socket closes and what is in flight
is finished.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from ..settings import Settings
from .connection import Connection
from .heap import keep_freed, settle_heap
from .limits import Limits
from .ports import allow_reuse, bind, url
from .reload import Reloads

SWEEP = 0.5
"""Seconds between two looks for connections that had their time."""

logger = logging.getLogger("server")


def serve(app: Any, settings: Settings) -> None:
    """Serve the application in this process until a signal ends it.

    Raises StartupError if the port cannot be had, and whatever the lifespan raises.
    """
    listener = bind(settings.host, settings.port)
    server = OnlyServer(app, settings)
    server.run(sockets=[listener])
    if threading.active_count() > 1:
        # A call of the model that outlived the grace period, or a load: nobody waits for it, and
        # an interpreter that ends beneath it may crash.
        logging.shutdown()
        os._exit(0)


def import_loop() -> None:
    """Import the event loop, which uvicorn does late: before a fork, so that it is shared."""
    uvicorn.Config("", log_config=None).get_loop_factory()


def configure(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    connection = partial(
        Connection,
        limits=Limits.of(settings),
        metrics=app.state.metrics,
        refuse=app.state.refuse,
    )
    config = uvicorn.Config(
        app,
        http=connection,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_timeout,  # type: ignore[arg-type]
    )
    config.load()
    config.lifespan_class = Lifespan
    return config


class Lifespan:
    """Runs the application's lifespan; a failure is raised where uvicorn would log and exit."""

    def __init__(self, config: uvicorn.Config) -> None:
        self.state: dict[str, Any] = {}
        self.should_exit = False
        self._app = config.loaded_app
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Enter the lifespan, the first time. Raises what the application raised."""
        if self._task is not None:
            return
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self._task = asyncio.ensure_future(self._app(scope, self._inbox.get, self._outbox.put))
        await self._step("lifespan.startup")

    async def shutdown(self) -> None:
        """Leave the lifespan. Raises what the application raised."""
        await self._step("lifespan.shutdown")

    async def _step(self, kind: str) -> None:
        assert self._task is not None  # noqa: S101 - startup comes first
        await self._inbox.put({"type": kind})
        answer = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() or answer.result()["type"] == f"{kind}.failed":
            answer.cancel()
            await self._task  # raises


class Server(uvicorn.Server):
    """uvicorn's server, draining in the right order."""

    def __init__(self, app: Any, settings: Settings) -> None:
        super().__init__(configure(app, settings))
        self.readiness = app.state.readiness
        self._drain_until = 0.0
        self._body_bytes = settings.max_body_bytes

    def drain(self, delay: float) -> None:
        """Begin the end: connections are accepted for so many seconds more."""
        self._drain_until = time.monotonic() + delay
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        settle_heap()
        keep_freed(self._body_bytes)
        for listener in sockets or ():
            allow_reuse(listener, True)
        await super().startup(sockets)
        self._sweeper = asyncio.create_task(self._end_overdue())

    async def _end_overdue(self) -> None:
        """Look, again and again, for connections that had their time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            for connection in list(self.server_state.connections):
                connection.overdue(loop.time())  # type: ignore[union-attr]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.leave()
        # In place: answers that are under way share this list.
        self.server_state.default_headers.append((b"connection", b"close"))
        while time.monotonic() < self._drain_until and not self.force_exit:
            self.tend()
            await asyncio.sleep(0.05)
        self.refuse()
        await super().shutdown(sockets)
        self._sweeper.cancel()

    def leave(self) -> None:
        """Tell whoever asks that new work should go elsewhere."""
        self.readiness.drain()

    def tend(self) -> None:
        """Called some times a second while the server serves."""

    def refuse(self) -> None:
        """Called when no more connections should come."""

    async def on_tick(self, counter: int) -> bool:
        self.tend()
        return await super().on_tick(counter)


class OnlyServer(Server):
    """The server of a service with one process: signals reach it directly."""

    def __init__(self, app: Any, settings: Settings) -> None:
        super().__init__(app, settings)
        self._delay = settings.drain_delay
        self._reloads = Reloads(app.state, settings)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._reloads.ask)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            logger.info("listening on %s", url(listener))

    def tend(self) -> None:
        if not self.should_exit:
            self._reloads.tick()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("draining")
        self._reloads.stop()
        await super().shutdown(sockets)
        logger.info("stopped")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Not uvicorn's: a signal is an order that was carried out, so the exit code is 0."""
        if not self.started:
            os._exit(0)  # nothing is served yet, nothing is half-written
        if self.should_exit:
            self.force_exit = True
        else:
            self.drain(0 if sig == signal.SIGINT else self._delay)
