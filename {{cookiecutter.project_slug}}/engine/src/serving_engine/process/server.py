"""uvicorn, with the start and the shutdown that a service behind a load balancer needs.

Start: the port is bound before the model is loaded, and it listens only afterwards. A failure ends
the process with one line, not with a traceback. Graceful shutdown: on SIGTERM, `/readyz` returns
503 first, connections are still accepted for a delay, and only then the socket is closed and the
requests in flight are finished.
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

from ..distribution import engine_and_template
from ..heap import freeze_heap, trim_heap, tune_malloc
from ..http.connection import Connection
from ..http.limits import ConnectionLimits
from ..settings import ServingSettings
from .ports import allow_reuse, bind, links, url
from .reload import Reloader, name_of
from .served_app import ServedApp

TIMEOUT_CHECK_INTERVAL = 0.5
"""Seconds between two checks for connections that have timed out."""

logger = logging.getLogger("server")


def serve(app: ServedApp, settings: ServingSettings) -> None:
    """Serve the application in this process until a signal ends it.

    Raises StartupError if the port is not available, and the exceptions of the lifespan.
    """
    listener = bind(settings.host, settings.port)
    server = SingleProcessServer(app, settings)
    server.run(sockets=[listener])
    if threading.active_count() > 1:
        # A call of the model that outlived the drain timeout, or a load. Its result is not needed,
        # and the interpreter may crash if it ends while the thread runs.
        logging.shutdown()
        os._exit(0)


def import_event_loop() -> None:
    """Import the event loop, as uvicorn does later: before a fork, its memory becomes shared."""
    uvicorn.Config("", log_config=None).get_loop_factory()


def configure(app: ServedApp, settings: ServingSettings) -> uvicorn.Config:
    """Return uvicorn's configuration for the application."""
    connection = partial(
        Connection,
        limits=ConnectionLimits.of(settings),
        metrics=app.state.metrics,
        format_error=app.state.format_error,
    )
    entry = app.state.entry
    config = uvicorn.Config(
        entry if entry.app is app else app,  # the service may have wrapped the application
        interface="asgi3",
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
    config.lifespan_class = LifespanRunner
    return config


class LifespanRunner:
    """Runs the application's lifespan. Raises its exceptions; uvicorn's class logs and exits."""

    def __init__(self, config: uvicorn.Config) -> None:
        self.state: dict[str, Any] = {}
        self.should_exit = False
        self._app = config.loaded_app
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Enter the lifespan, when called first. Raises the exception of the application."""
        if self._task is not None:
            return
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self._task = asyncio.ensure_future(self._app(scope, self._inbox.get, self._outbox.put))
        await self._step("lifespan.startup")

    async def shutdown(self) -> None:
        """Leave the lifespan. Raises the exception of the application."""
        await self._step("lifespan.shutdown")

    async def _step(self, kind: str) -> None:
        assert self._task is not None  # noqa: S101 - startup comes first
        await self._inbox.put({"type": kind})
        message = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait({message, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not message.done() or message.result()["type"] == f"{kind}.failed":
            message.cancel()
            await self._task  # raises


class Server(uvicorn.Server):
    """uvicorn's server, with a graceful shutdown in the right order."""

    def __init__(self, app: ServedApp, settings: ServingSettings) -> None:
        super().__init__(configure(app, settings))
        self.readiness = app.state.readiness
        self._state = app.state
        self._model_failed = False
        self._drain_until = 0.0
        self._drain_timeout = settings.drain_timeout
        self._metrics = app.state.metrics
        self._body_bytes = settings.max_body_bytes
        self._max_freed = ConnectionLimits.of(settings).buffered_bytes // 4

    def drain(self, delay: float) -> None:
        """Begin the graceful shutdown; connections are accepted for another `delay` seconds."""
        self._drain_until = time.monotonic() + delay
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        freeze_heap()
        tune_malloc(self._body_bytes)
        for listener in sockets or ():
            allow_reuse(listener, True)
        await super().startup(sockets)
        self._sweeper = asyncio.create_task(self._check_timeouts())

    async def _check_timeouts(self) -> None:
        """Check all connections for timeouts, periodically.

        If they have freed much since they held most, malloc returns it to the system: small objects
        between the freed blocks keep it from doing so by itself.
        """
        loop = asyncio.get_running_loop()
        most = 0
        while True:
            await asyncio.sleep(TIMEOUT_CHECK_INTERVAL)
            for connection in list(self.server_state.connections):
                connection.check_timeout(loop.time())  # type: ignore[union-attr]
            most = max(most, self._metrics.buffered_bytes)
            if most - self._metrics.buffered_bytes > self._max_freed:
                trim_heap()
                most = self._metrics.buffered_bytes

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.report_not_ready()
        # In place: responses in progress share this list.
        self.server_state.default_headers.append((b"connection", b"close"))
        while time.monotonic() < self._drain_until and not self.force_exit:
            self.tick()
            await asyncio.sleep(0.05)
        self.stop_accepting()
        self._state.tracer.drain_until = time.monotonic() + self._drain_timeout
        await super().shutdown(sockets)
        self._sweeper.cancel()

    def report_not_ready(self) -> None:
        """Make `/readyz` return 503, so that the load balancer sends new requests elsewhere."""
        self.readiness.drain()

    def tick(self) -> None:
        """Called several times a second while the server serves."""

    def stop_accepting(self) -> None:
        """Called when the drain delay is over: no more connections are accepted."""

    def model_fails(self) -> bool:
        """Return whether a prediction thread is lost, or stuck in a call; log when that begins."""
        before = self._model_failed
        self._model_failed = self._state.model.failed_threads > 0
        if self._model_failed and not before:
            logger.error(
                "a call of the model is stuck, or its thread is lost: /readyz returns 503. Restart "
                "the service, or raise SERVING_STUCK_TIMEOUT for a model that is that slow."
            )
        return self._model_failed

    async def on_tick(self, counter: int) -> bool:
        self.tick()
        return await super().on_tick(counter)


class SingleProcessServer(Server):
    """The server of a service with one process: signals reach it directly."""

    def __init__(self, app: ServedApp, settings: ServingSettings) -> None:
        super().__init__(app, settings)
        self._settings = settings
        self._delay = settings.drain_delay
        self._reloader = Reloader(app.state, settings)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._reloader.request)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            logger.info("listening on %s", url(listener), extra=engine_and_template())
            logger.info(links(name_of(self._state.model), url(listener), self._settings))

    def tick(self) -> None:
        self.model_fails()
        if not self.should_exit:
            self._reloader.tick()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("draining")
        self._reloader.stop()
        await super().shutdown(sockets)
        logger.info("stopped")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Handle a signal that ends the service; with uvicorn's handler, the exit code is not 0."""
        if not self.started:
            os._exit(0)  # nothing is served yet, and no file is being written
        if self.should_exit:
            self.force_exit = True
        else:
            self.drain(0 if sig == signal.SIGINT else self._delay)
