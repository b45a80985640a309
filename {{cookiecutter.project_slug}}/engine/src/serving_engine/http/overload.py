"""Closes the slowest connections when all connections together hold more bytes than they may."""

from collections.abc import Iterable
from typing import Protocol

from ..telemetry.metrics import Metrics

_CLOCK_STEP = 0.001  # seconds; uvloop's clock stands still for as long


class Slow(Protocol):
    """A connection. held: the bytes that wait for its client, who sends or reads them."""

    waiting_since: float

    def held_for_client(self) -> int: ...

    def give_up(self) -> None: ...


def close_slowest(
    connections: Iterable[Slow], metrics: Metrics, max_bytes: int, now: float
) -> None:
    """Close connections until an eighth of `max_bytes` is free.

    Slow is who holds many bytes for long. Requests that have arrived completely are not affected.
    """

    def byte_seconds(connection: Slow) -> float:
        return connection.held_for_client() * (now - connection.waiting_since + _CLOCK_STEP)

    for connection in sorted(connections, key=byte_seconds, reverse=True):
        if metrics.buffered_bytes <= max_bytes * 7 // 8 or not connection.held_for_client():
            return
        connection.give_up()
