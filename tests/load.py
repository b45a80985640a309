"""Load on loopback that stops by itself: a bounded number of keep-alive connections."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Answer:
    """One answer: its status, headers in lower case, body, and seconds since the request."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Client:
    """One keep-alive connection. Raises OSError or EOFError when the service ends it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, path: str, body: bytes | None = None) -> Answer:
        """GET, or POST with a JSON body."""
        started = time.perf_counter()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: test\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + (body or b""))
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        content = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(int(lines[0].split()[1]), headers, content, time.perf_counter() - started)


@dataclass
class Record:
    """What the clients of a run saw."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0

    def with_status(self, *statuses: int) -> list[Answer]:
        """The answers of these statuses."""
        return [answer for answer in self.answers if answer.status in statuses]


def p99(answers: list[Answer]) -> float:
    """Seconds that 99 of 100 answers took at most."""
    return statistics.quantiles([answer.seconds for answer in answers], n=100)[-1]


async def clients(
    port: int, count: int, seconds: float, ask: Callable[[Client, int], Awaitable[Answer]]
) -> Record:
    """Let `count` clients ask again and again for so many seconds.

    ask: makes one request of the client with the number given.
    """
    record = Record()
    started = time.perf_counter()

    async def client(number: int) -> None:
        async with Client(port) as client:
            while time.perf_counter() < started + seconds:
                record.answers.append(await ask(client, number))

    await asyncio.gather(*(client(number) for number in range(count)))
    record.seconds = time.perf_counter() - started
    return record
