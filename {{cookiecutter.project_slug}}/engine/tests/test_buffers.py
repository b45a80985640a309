"""The memory that clients can make a service hold, measured in its process."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest
from serving_engine.model_files.manifest import Manifest

from .models import example_row
from .service import PATIENCE, Service, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MIB = 2**20
LIMIT = 16 * MIB
BODY = 900_000
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000000\r\n\r\n"
)
JSON = {"Content-Type": "application/json"}
PROBE = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
MORE_ROUTES = f"""
import asyncio
from fastapi import Request, Response
from tests.example_service import app as example

create_app = example.create_app

def create_app_with_route(*arguments):
    app = create_app(*arguments)

    @app.get("/large")
    async def large():
        return Response(bytes({8 * MIB}))

    released = asyncio.Event()

    @app.post("/held")
    async def held(request: Request):
        body = await request.body()
        await released.wait()
        return len(body)

    @app.get("/release")
    async def release():
        released.set()

    return app

example.create_app = create_app_with_route
"""


@pytest.fixture(scope="module")
def service(model_dir: Path) -> Iterator[Service]:
    limits = {"max_buffered_bytes": LIMIT, "body_timeout": 3, "access_log": "false"}
    with Service(model_dir, patches=MORE_ROUTES, **limits) as service:
        service.get("/livez")
        yield service


@pytest.fixture
def clients(service: Service) -> Iterator[list[socket.socket]]:
    """Many connections to a service that holds nothing."""
    wait_until(lambda: buffered(service) <= 0)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
            )
            for _ in range(60)
        ]


def memory(service: Service) -> int:
    """The bytes of the process that are in memory."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


def buffered(service: Service) -> float:
    """The bytes that connections hold, without those of the request for the metrics."""
    return service.scrape()["serving_buffered_bytes",] - 1000


def send(client: socket.socket, data: bytes) -> None:
    """Send data to a service that may close the connection meanwhile."""
    with suppress(OSError):
        client.sendall(data)


def status(client: socket.socket) -> bytes:
    """Return the first line of the response; empty if the connection was reset."""
    with suppress(OSError):
        return client.recv(65_536).partition(b"\r\n")[0]
    return b""


def test_bodies_of_all_connections_together_are_bounded_and_freed(
    service: Service, clients: list[socket.socket], manifest: Manifest
) -> None:
    before = memory(service)
    for client in clients:
        send(client, HEAD + b" " * BODY)
    assert memory(service) - before < LIMIT + 16 * MIB
    assert buffered(service) <= LIMIT
    assert service.request("GET", "/livez").status_code == 200
    first_lines = [status(client) for client in clients]
    assert any(b" 503 " in line for line in first_lines)
    wait_until(lambda: buffered(service) <= 0)
    wait_until(lambda: memory(service) - before < 8 * MIB)
    assert service.predict([example_row(manifest)]).status_code == 200


def test_the_slowest_connections_are_closed_first(
    service: Service, clients: list[socket.socket], manifest: Manifest
) -> None:
    slow, *others = clients
    send(slow, HEAD + b" " * BODY)
    wait_until(lambda: buffered(service) > BODY / 2)
    for client in others[:30]:
        send(client, HEAD + b" " * BODY)
    assert b" 503 " in status(slow)
    assert service.predict([example_row(manifest)]).status_code == 200


def test_responses_that_are_not_read_are_bounded(service: Service) -> None:
    before = memory(service)
    large = ("serving_requests_total", "native", "/large", "200")
    with ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", service.port))
            client.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: service.scrape().get(large) == 12)
        assert buffered(service) <= LIMIT
        assert memory(service) - before < LIMIT + 32 * MIB


def test_few_pipelined_requests_are_parsed_before_their_turn(service: Service) -> None:
    """The others are held as bytes: a parsed request needs a hundred times as much memory."""
    count = 5000
    first = HEAD.replace(b"/predict", b"/held").replace(b"1000000", b"0")
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        client.sendall(first + PROBE * count)
        wait_until(lambda: buffered(service) > 20_000)
        assert buffered(service) < count * len(PROBE) + MIB
        service.request("GET", "/release")
        received = bytearray()
        while received.count(b"HTTP/1.1 ") < count + 1:
            data = client.recv(MIB)
            assert data, "the connection was closed"
            received += data
        assert received.count(b"HTTP/1.1 200 OK") == count + 1


def test_a_client_that_reads_no_responses_is_not_read_either(
    service: Service, clients: list[socket.socket]
) -> None:
    before = memory(service)
    for client in clients:
        client.setblocking(False)
        with suppress(OSError):
            client.send(PROBE * 10_000)
    assert memory(service) - before < LIMIT + 32 * MIB
    started = time.monotonic()
    assert service.request("GET", "/livez").status_code == 200
    assert time.monotonic() - started < 2


@pytest.fixture(scope="module")
def small_service(model_dir: Path) -> Iterator[Service]:
    """It may hold what one request of the largest size needs: 26,384 bytes."""
    limits = {"max_buffered_bytes": 1, "max_body_bytes": 10_000}
    with Service(model_dir, patches=MORE_ROUTES, **limits) as service:
        yield service


def test_a_request_of_the_largest_size_always_fits(
    small_service: Service, manifest: Manifest
) -> None:
    body = json.dumps({"instances": [example_row(manifest)]}).encode().ljust(10_000)
    for _ in range(3):
        response = small_service.client.post("/predict", content=body, headers=JSON)
        assert response.status_code == 200


def test_beyond_the_limit_a_new_request_gets_503_and_probes_are_answered(
    small_service: Service, manifest: Manifest
) -> None:
    """The requests that are held have arrived completely, so no connection is slow."""
    body = json.dumps({"instances": [example_row(manifest)]}).encode().ljust(3000)
    request = HEAD.replace(b"1000000", b"3000") + body
    with ExitStack() as stack:

        def sent(data: bytes) -> socket.socket:
            address = ("127.0.0.1", small_service.port)
            client = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            client.sendall(data)
            return client

        held = [sent(request.replace(b"/predict", b"/held")) for _ in range(8)]
        wait_until(lambda: buffered(small_service) > 8 * 3000 - 1000)
        response = HTTPResponse(sent(request))
        response.begin()
        assert response.status == 503
        assert int(response.headers["retry-after"]) >= 1
        assert json.loads(response.read())["type"].endswith("buffers-full")
        assert small_service.request("GET", "/readyz").status_code == 200
        small_service.request("GET", "/release")
        assert all(status(client).endswith(b"200 OK") for client in held)
        assert status(sent(request)).endswith(b"200 OK")
