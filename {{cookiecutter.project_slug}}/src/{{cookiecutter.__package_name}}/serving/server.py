"""uvicorn, with the start and the end that a service behind a load balancer needs.

Start: the port is bound before the model is loaded, so that a second service is told at once, and
it listens only afterwards. A failure ends the process with its own error, not with a traceback.
End: on SIGTERM `/readyz` turns 503 first, connections are still accepted for a delay, and only
then the socket closes and what is in flight is finished.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from ..errors import StartupError
from ..settings import Settings
from ..telemetry.metrics import Metrics
from .connection import Connection
from .heap import settle_heap
from .limits import Limits
from .readiness import Readiness

SWEEP = 5
"""Ticks, of 0.1 seconds, between two looks for connections that had their time."""

logger = logging.getLogger("server")


def serve(app: Any, settings: Settings, readiness: Readiness, metrics: Metrics) -> None:
    """Serve an ASGI application until a signal ends it.

    Raises StartupError if the port cannot be had, and whatever the lifespan raises.
    """
    listener = bind(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http=partial(Connection, limits=Limits.of(settings), metrics=metrics),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
    )
    config.load()
    config.lifespan_class = Lifespan
    Server(config, readiness, settings.drain_delay).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Bind host:port without listening; connections are refused until someone listens.

    Raises StartupError if the address is in use or cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise StartupError(f"{host} is not an address of this machine. Set SERVING_HOST.") from None
    # Without SO_REUSEADDR, closed connections of a service that just ended keep the port for a
    # minute; with it, Linux lets two services bind it as long as neither listens. So it is on
    # while binding, off while the model loads, and on again from listening on.
    for reuse in (False, True) if sys.platform != "win32" else (False,):
        listener = socket.socket(family, kind, protocol)
        allow_reuse(listener, reuse)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            allow_reuse(listener, False)
            return listener
    raise StartupError(
        f"cannot use port {port} on {host}: {reason}. Set SERVING_PORT to a free one."
    )


def allow_reuse(listener: socket.socket, allowed: bool) -> None:
    """Set SO_REUSEADDR where it means what POSIX means by it."""
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, allowed)


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

    def __init__(self, config: uvicorn.Config, readiness: Readiness, drain_delay: float) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._drain_until = 0.0
        self._drain_delay = drain_delay

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        settle_heap()
        for listener in sockets or ():
            allow_reuse(listener, True)
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP == 0:
            self._end_overdue()
        return await super().on_tick(counter)

    def _end_overdue(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            connection.overdue(now)  # type: ignore[union-attr]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._readiness.drain()
        # In place: answers that are under way share this list.
        self.server_state.default_headers.append((b"connection", b"close"))
        logger.info("draining")
        while time.monotonic() < self._drain_until and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
        logger.info("stopped")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Not uvicorn's: a signal is an order that was carried out, so the exit code is 0."""
        if not self.started:
            os._exit(0)  # nothing is served yet, nothing is half-written
        if self.should_exit:
            self.force_exit = True
        elif sig != signal.SIGINT:
            self._drain_until = time.monotonic() + self._drain_delay
        self.should_exit = True
