"""What a connection bounds before anything is a request: bytes on a socket of a real service."""

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }}.api.problems import problem
from {{ cookiecutter.__package_name }}.api.protocol import find_protocols
from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.errors import URITooLong

from .models import example_row
from .service import PATIENCE, Service

OWN_ROUTES = f"""
import asyncio
from fastapi.responses import StreamingResponse
from {package.__name__} import app, cli
from {package.__name__}.serving import connection, server
connection.LINGER = 0.3
server.SWEEP = 0.05
create = app.create_app
def create_with_routes(*arguments):
    made = create(*arguments)
    @made.post("/own")
    async def own(body: dict):
        return len(body)
    @made.get("/endless")
    async def endless():
        async def chunks():
            while True:
                yield bytes(65536)
        return StreamingResponse(chunks())
    @made.get("/split")
    async def split():
        return app.Response(headers=dict([("X-Split", "a\\r\\nSet-Cookie: b")]))
    @made.get("/nothing")
    async def nothing():
        return app.Response(status_code=204)
    return made
from fastapi import Response
app.Response = Response
app.create_app = create_with_routes
cli.main(["serve"])
"""
HOST = b"Host: test\r\n"
LIMITS = {
    "max_body_bytes": 100_000,
    "header_timeout": 0.3,
    "body_timeout": 0.3,
    "keep_alive_timeout": 0.5,
    "drain_delay": 0,
}


class OwnRoutes(Service):
    def __init__(self, model_dir: Path) -> None:
        super().__init__(model_dir, **LIMITS)
        self._command = [sys.executable, "-c", OWN_ROUTES]


@pytest.fixture(scope="module")
def service(model_dir: Path) -> Iterator[Service]:
    with OwnRoutes(model_dir) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def good(manifest: Manifest) -> bytes:
    """A whole request that gets a prediction."""
    body = json.dumps({"instances": [example_row(manifest)]}).encode()
    return post(body)


def post(body: bytes, path: str = "/predict", fields: bytes = b"") -> bytes:
    return (
        b"POST %s HTTP/1.1\r\n" % path.encode()
        + HOST
        + fields
        + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


def answers(client: socket.socket) -> list[tuple[int, bytes]]:
    """Every answer until the service closes the connection: status and body."""
    found = []
    file = client.makefile("rb")
    while file.peek(1):
        answer = http.client.HTTPResponse(_Open(file))  # type: ignore[arg-type]
        answer.begin()
        found.append((answer.status, answer.read()))
    return found


class _Open:
    """A socket to HTTPResponse, which must not close what the next answer is read from."""

    def __init__(self, file: object) -> None:
        self._file = file

    def makefile(self, _mode: str) -> "_Open":
        return self

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def statuses(client: socket.socket) -> list[int]:
    return [status for status, _ in answers(client)]


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def send_until_closed(client: socket.socket, data: bytes) -> None:
    """Send on without end; the service has had enough within seconds."""

    def send_on() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            client.sendall(data)

    with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
        send_on()


def still_serves(service: Service, manifest: Manifest) -> bool:
    started = time.monotonic()
    answer = service.predict([example_row(manifest)])
    return answer.status_code == 200 and time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 5_000 + b"\r\n", 431),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 17_000, 414),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\n" + HOST + b"bad name: 1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ],
)
def test_what_cannot_be_a_request_gets_one_problem_and_the_end(
    head: bytes, status: int, client: socket.socket
) -> None:
    client.sendall(head)
    ((found, body),) = answers(client)
    assert found == status
    document = json.loads(body)
    assert document["status"] == status
    assert document["detail"]


def test_it_is_worded_as_the_path_has_its_errors(service: Service) -> None:
    forms = {path: protocol for protocol in find_protocols() for path in protocol.paths}
    long = b"/" + b"a" * 9_000
    for path in ("/predict", *forms):
        answer = forms[path].refuse(URITooLong("x"), "") if path in forms else None
        expected = answer or problem(URITooLong("x"))
        for head in (b"GET %s%s HTTP/1.1\r\n\r\n", b"GET %s/a%%20b?%s HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
                client.sendall(head % (path.encode(), long))
                found = http.client.HTTPResponse(client)
                found.begin()
                assert found.status == URITooLong.status
                assert found.headers["content-type"] == expected.headers["content-type"]
                assert json.loads(found.read()).keys() == json.loads(bytes(expected.body)).keys()


def test_an_endless_header_ends_with_the_connection(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")
    send_until_closed(client, b"a" * 65_536)


def test_headers_just_under_the_limits_pass(client: socket.socket) -> None:
    client.sendall(
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + b"a: b\r\n" * 98 + b"\r\n"
    )
    assert statuses(client) == [200]


def test_headers_that_come_in_pieces_are_put_together(client: socket.socket) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n":
        client.sendall(bytes([byte]))
    assert statuses(client) == [200]


def test_slow_headers_get_408(client: socket.socket) -> None:
    started = time.monotonic()
    client.sendall(b"GET / HTTP/1.1\r\nHost:")
    assert statuses(client) == [408]
    assert time.monotonic() - started < 3


def test_a_connection_without_a_request_is_closed(client: socket.socket) -> None:
    started = time.monotonic()
    assert is_closed(client)
    assert time.monotonic() - started < 3


def test_an_idle_connection_is_kept_and_then_closed(client: socket.socket) -> None:
    started = time.monotonic()
    client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(client) == [200]
    assert 0.4 < time.monotonic() - started < 5


def test_hundreds_of_half_open_connections_stop_nobody(
    service: Service, manifest: Manifest
) -> None:
    address = ("127.0.0.1", service.port)
    half_open = [socket.create_connection(address, timeout=PATIENCE) for _ in range(300)]
    try:
        for client in half_open[::2]:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost")
        assert still_serves(service, manifest)
        assert all(is_closed(client) for client in half_open[1::2])
        assert all(statuses(client) == [408] for client in half_open[::2])
    finally:
        for client in half_open:
            client.close()


@pytest.mark.parametrize("path", ["/predict", "/own"])
def test_any_route_bounds_the_size_of_a_body(path: str, client: socket.socket) -> None:
    """By its declared length, or by what comes."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    client.sendall(
        b"POST %s HTTP/1.1\r\n" % path.encode()
        + HOST
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk * 20
    )
    assert statuses(client) == [413]


@pytest.mark.parametrize("path", ["/predict", "/own"])
def test_any_route_bounds_the_time_of_a_body(path: str, client: socket.socket) -> None:
    client.sendall(post(b"{}", path)[:-1])
    started = time.monotonic()
    assert statuses(client) == [408]
    assert time.monotonic() - started < 3


def test_a_client_that_sends_all_of_a_body_that_is_too_large_can_read_why(
    client: socket.socket,
) -> None:
    client.sendall(post(b" " * 3_000_000))
    assert statuses(client) == [413]


def test_what_is_left_of_a_body_after_its_answer_is_bounded(client: socket.socket) -> None:
    client.sendall(b"POST /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    send_until_closed(client, b"4000\r\n" + b" " * 0x4000 + b"\r\n")


def test_a_body_in_tiny_chunks_is_a_body(manifest: Manifest, client: socket.socket) -> None:
    body = json.dumps({"instances": [example_row(manifest)]}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    client.sendall(
        b"POST /predict HTTP/1.1\r\nConnection: close\r\n"
        + HOST
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
    )
    assert statuses(client) == [200]


def test_a_body_that_goes_wrong_gets_one_answer(client: socket.socket) -> None:
    head = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(b"POST /predict HTTP/1.1\r\n" + HOST + head + b"zz\r\n")
    assert statuses(client) == [400]


def test_a_body_that_goes_wrong_after_its_answer_gets_no_second_one(client: socket.socket) -> None:
    head = b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(b"POST /livez HTTP/1.1\r\n" + HOST + head + b"1\r\na\r\n")
    first = client.recv(65_536)
    assert first.startswith(b"HTTP/1.1 405")
    client.sendall(b"zz\r\n")
    assert is_closed(client)


def test_pipelined_requests_are_answered_in_order(good: bytes, client: socket.socket) -> None:
    last = b"GET /readyz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + good * 30 + last)
    found = answers(client)
    assert [status for status, _ in found] == [200] * 32
    assert b"predictions" in found[1][1]
    assert b"ready" in found[-1][1]


def test_what_follows_a_request_does_not_hurt_it(good: bytes, client: socket.socket) -> None:
    client.sendall(good + b"nonsense\r\n\r\n")
    found = answers(client)
    assert found[0][0] == 200
    assert len(found) <= 2, "the nonsense may be refused, but nothing else is answered"


def test_an_offered_upgrade_is_declined_and_the_body_read(
    good: bytes, client: socket.socket
) -> None:
    """Java's HttpClient offers HTTP/2 with its first request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    client.sendall(good.replace(HOST, HOST + offer))
    client.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    assert statuses(client) == [200, 200]


def test_a_client_may_ask_before_it_sends_a_body(good: bytes, client: socket.socket) -> None:
    head, _, body = good.partition(b"\r\n\r\n")
    client.sendall(head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert client.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(body)
    assert statuses(client) == [200]


def test_head_and_204_have_no_body(client: socket.socket) -> None:
    get = b" HTTP/1.1\r\n" + HOST + b"\r\n"
    client.sendall(b"HEAD /livez" + get)
    head = client.recv(65_536)
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length" in head
    client.sendall(b"GET /nothing" + get)
    nothing = client.recv(65_536)
    assert nothing.startswith(b"HTTP/1.1 204")
    assert nothing.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in nothing
    client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    assert statuses(client) == [200]


def test_an_answer_never_carries_a_header_that_is_two(client: socket.socket) -> None:
    client.sendall(b"GET /split HTTP/1.1\r\n" + HOST + b"\r\n")
    ((status, body),) = answers(client)
    assert status == 500
    assert b"Cookie" not in body


def test_a_client_that_does_not_read_loses_its_connection(service: Service) -> None:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n")
        in_flight(service, 2)  # this one, and the one that asks
        in_flight(service, 1)


def in_flight(service: Service, count: int) -> None:
    """Wait until so many requests are in progress."""
    deadline = time.monotonic() + PATIENCE
    while f"\nserving_in_flight {count}.0\n" not in service.get("/metrics").text:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_refused_connections_are_counted(service: Service, client: socket.socket) -> None:
    def counted() -> bool:
        return 'serving_refused_total{reason="malformed-request"}' in service.get("/metrics").text

    client.sendall(b"nonsense\r\n\r\n")
    assert statuses(client) == [400]
    assert counted()
