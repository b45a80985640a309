"""One of several processes that serve: it shows its heart beat, and takes orders by the board."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ServiceExit, StartupError
from ..settings import Settings
from .board import Board, Order, SharedCounts, State
from .server import Server


def work(app: Any, settings: Settings, board: Board, place: int, listener: socket.socket) -> None:
    """Serve the application, which was made for a model that is loaded, until ordered to end.

    Raises StartupError if it does not start.
    """
    app.state.metrics.share(SharedCounts(board, board.places[place]))
    server = Worker(app, settings, board, place)
    try:
        server.run(sockets=[listener])
    except ServiceExit:
        raise
    except Exception as error:
        if server.started:
            raise
        raise StartupError(f"a worker did not start: {error}") from error


class Worker(Server):
    """The server of one worker."""

    def __init__(self, app: Any, settings: Settings, board: Board, place: int) -> None:
        super().__init__(app, settings)
        self._place = board.places[place]
        self._publish = app.state.metrics.publish
        self._delay = settings.drain_delay
        self._retired = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._listeners = [listener.dup() for listener in sockets or ()]
        await super().startup(sockets)
        self._publish()
        self._place.state = State.READY

    def tend(self) -> None:
        place = self._place
        place.beats += 1
        self._publish()
        if place.order == Order.STOP:
            self.drain(0)
        elif place.order and not self.should_exit:
            self._retired = place.order == Order.RETIRE
            self.drain(self._delay)

    def leave(self) -> None:
        self._place.state = State.DRAINING
        if not self._retired:
            super().leave()
            return
        for server in self.servers:
            server.close()  # new connections wait for the successor, on the same socket

    def refuse(self) -> None:
        if not self._retired:
            for listener in self._listeners:
                # Other processes hold it too: closing alone would leave clients waiting in it.
                with suppress(OSError):  # where one socket is shared, another worker was first
                    listener.shutdown(socket.SHUT_RDWR)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._publish()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Orders come by the board; signals were for the supervisor."""
        yield
