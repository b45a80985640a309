"""The limits of a connection, and its errors: bytes on a socket of a real service."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_engine.errors import URITooLong
from serving_engine.model_files.manifest import Manifest
from serving_engine.protocols import find_protocols
from serving_engine.web.problem_details import problem

from .models import example_row
from .service import PATIENCE, Service, wait_until

MORE_ROUTES = """
from fastapi import Response
from fastapi.responses import StreamingResponse
from serving_engine.http import connection
from serving_engine.process import server
from tests.example_service import app as example

connection.LINGER = 0.3
server.TIMEOUT_CHECK_INTERVAL = 0.05
create_app = example.create_app

def create_app_with_routes(*arguments):
    app = create_app(*arguments)

    @app.post("/own")
    async def own(body: dict):
        return len(body)

    @app.get("/endless")
    async def endless():
        async def chunks():
            while True:
                yield bytes(65536)
        return StreamingResponse(chunks())

    @app.get("/split")
    async def split():
        return Response(headers={"X-Split": "a\\r\\nSet-Cookie: b"})

    @app.get("/nothing")
    async def nothing():
        return Response(status_code=204)

    return app

example.create_app = create_app_with_routes
"""
HOST = b"Host: test\r\n"
CHUNKED = (
    b"POST /predict HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LIMITS = {
    "max_body_bytes": 100_000,
    "header_timeout": 0.3,
    "body_timeout": 0.3,
    "keep_alive_timeout": 0.5,
    "drain_delay": 0,
}


@pytest.fixture(scope="module")
def service(model_dir: Path) -> Iterator[Service]:
    with Service(model_dir, patches=MORE_ROUTES, **LIMITS) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def good(manifest: Manifest) -> bytes:
    """A valid request for a prediction."""
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


def responses(client: socket.socket) -> list[tuple[int, bytes]]:
    """Read all responses until the service closes the connection: status and body."""
    statuses_and_bodies = []
    file = client.makefile("rb")
    while file.peek(1):
        response = http.client.HTTPResponse(_KeptOpen(file))  # type: ignore[arg-type]
        response.begin()
        statuses_and_bodies.append((response.status, response.read()))
    return statuses_and_bodies


class _KeptOpen:
    """A socket for HTTPResponse, which must not close the file: the next response follows."""

    def __init__(self, file: object) -> None:
        self._file = file

    def makefile(self, _mode: str) -> "_KeptOpen":
        return self

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def statuses(client: socket.socket) -> list[int]:
    return [status for status, _ in responses(client)]


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def send_until_closed(client: socket.socket, data: bytes) -> None:
    """Send data again and again, until the service closes the connection."""

    def send_for_seconds() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            client.sendall(data)

    with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
        send_for_seconds()


def responds_quickly(service: Service, manifest: Manifest) -> bool:
    started = time.monotonic()
    response = service.predict([example_row(manifest)])
    return response.status_code == 200 and time.monotonic() - started < 1


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
        (b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"GET /livez HTTP/0.9\r\n" + HOST + b"\r\n", 400),
        (b"GET /livez\r\n" + HOST + b"\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: user@test\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: test/path\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: test:port\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: t\xc3\xa9st\r\n\r\n", 400),
    ],
)
def test_an_invalid_request_gets_one_problem_document_and_its_connection_is_closed(
    head: bytes, status: int, client: socket.socket
) -> None:
    client.sendall(head)
    ((response_status, body),) = responses(client)
    assert response_status == status
    document = json.loads(body)
    assert document["status"] == status
    assert document["detail"]


def test_the_error_has_the_form_of_the_protocol_of_its_path(service: Service) -> None:
    protocols = {path: protocol for protocol in find_protocols() for path in protocol.paths}
    error = URITooLong("x")
    suffix = b"/" + b"a" * 9_000
    for path in ("/predict", *protocols):
        expected = protocols[path].format_error(error, "") if path in protocols else problem(error)
        for head in (b"GET %s%s HTTP/1.1\r\n\r\n", b"GET %s/a%%20b?%s HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
                client.sendall(head % (path.encode(), suffix))
                response = http.client.HTTPResponse(client)
                response.begin()
                assert response.status == URITooLong.status
                assert response.headers["content-type"] == expected.headers["content-type"]
                document = json.loads(response.read())
                assert document.keys() == json.loads(bytes(expected.body)).keys()


def test_an_endless_header_ends_with_the_connection(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")
    send_until_closed(client, b"a" * 65_536)


def test_headers_just_under_the_limits_pass(client: socket.socket) -> None:
    client.sendall(
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + b"a: b\r\n" * 98 + b"\r\n"
    )
    assert statuses(client) == [200]


def test_headers_that_arrive_in_pieces_are_joined(client: socket.socket) -> None:
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


def test_hundreds_of_half_open_connections_do_not_block_other_clients(
    service: Service, manifest: Manifest
) -> None:
    address = ("127.0.0.1", service.port)
    half_open = [socket.create_connection(address, timeout=PATIENCE) for _ in range(300)]
    try:
        for client in half_open[::2]:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost")
        assert responds_quickly(service, manifest)
        assert all(is_closed(client) for client in half_open[1::2])
        assert all(statuses(client) == [408] for client in half_open[::2])
    finally:
        for client in half_open:
            client.close()


@pytest.mark.parametrize("path", ["/predict", "/own"])
def test_any_route_bounds_the_size_of_a_body(path: str, client: socket.socket) -> None:
    """The body has no declared length: the received bytes are counted."""
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


def test_a_client_that_sends_a_whole_body_that_is_too_large_can_read_the_response(
    client: socket.socket,
) -> None:
    client.sendall(post(b" " * 3_000_000))
    assert statuses(client) == [413]


def test_the_rest_of_a_body_after_its_response_is_bounded(client: socket.socket) -> None:
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


def test_an_invalid_body_gets_one_response(client: socket.socket) -> None:
    head = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(b"POST /predict HTTP/1.1\r\n" + HOST + head + b"zz\r\n")
    assert statuses(client) == [400]


def test_a_body_that_is_invalid_after_its_response_gets_no_second_response(
    client: socket.socket,
) -> None:
    head = b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(b"POST /livez HTTP/1.1\r\n" + HOST + head + b"1\r\na\r\n")
    first = client.recv(65_536)
    assert first.startswith(b"HTTP/1.1 405")
    client.sendall(b"zz\r\n")
    assert is_closed(client)


def test_pipelined_requests_get_their_responses_in_order(
    good: bytes, client: socket.socket
) -> None:
    last = b"GET /readyz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + good * 30 + last)
    received = responses(client)
    assert [status for status, _ in received] == [200] * 32
    assert b"predictions" in received[1][1]
    assert b"ready" in received[-1][1]


@pytest.mark.parametrize("invalid", [b"nonsense\r\n\r\n", CHUNKED + b"zz\r\n"])
def test_requests_before_invalid_data_are_answered_first(
    invalid: bytes, good: bytes, client: socket.socket
) -> None:
    client.sendall(good * 20 + invalid + good)
    assert statuses(client) == [200] * 20 + [400]


def test_pipelined_requests_that_arrive_at_once_wait_for_their_turn(
    good: bytes, client: socket.socket
) -> None:
    """More than may be parsed before the first response, and bodies among them."""
    probes = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    client.sendall((good + probes * 300) * 3 + CHUNKED + b"1\r\n{\r\n0\r\n\r\n" + last)
    assert statuses(client) == [200] * 903 + [400, 200]


@pytest.mark.parametrize("host", [b"", b"a_b.example:80", b"[::1]:8000", b"127.0.0.1", b"x.y."])
def test_a_host_with_or_without_a_port_is_a_host(host: bytes, client: socket.socket) -> None:
    client.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n")
    assert statuses(client) == [200]


@pytest.mark.parametrize("parts", [1, 3])
def test_trailers_are_ignored(parts: int, manifest: Manifest, client: socket.socket) -> None:
    """Among them a name that would be a header of the request."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = json.dumps({"instances": [example_row(manifest)]}).encode()
    request = [
        CHUNKED.replace(HOST, HOST + b"Connection: close\r\n"),
        b"%x\r\n%s\r\n0\r\n" % (len(body), body),
        b"Content-Type: text/plain\r\nDigest:\r\nX-Request-ID: trailer\r\n\r\n",
    ]
    for part in request if parts > 1 else [b"".join(request)]:
        client.sendall(part)
    assert statuses(client) == [200]


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 101, b"a: " + b"b" * 20_000 + b"\r\n"])
def test_trailers_are_bounded_like_headers(trailers: bytes, client: socket.socket) -> None:
    client.sendall(CHUNKED + b"1\r\n{\r\n0\r\n" + trailers + b"\r\n")
    assert statuses(client) == [431]


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"0\r\nX", b"1;name=", b'1;name="'])
def test_a_trailer_or_chunk_extension_without_end_ends_with_the_connection(
    start: bytes, client: socket.socket
) -> None:
    client.sendall(CHUNKED + start)
    send_until_closed(client, b"a" * 65_536)


def test_chunk_extensions_add_up(client: socket.socket) -> None:
    client.sendall(CHUNKED + (b"1;" + b"a" * 1000 + b"\r\n \r\n") * 30 + b"0\r\n\r\n")
    assert statuses(client) == [431]


@pytest.mark.parametrize(
    "tokens", [b"close, TE", b"TE, close", b"close, Upgrade", b"upgrade,Close"]
)
def test_close_among_other_tokens_closes(tokens: bytes, client: socket.socket) -> None:
    fields = b"Connection: " + tokens + b"\r\nUpgrade: h2c\r\nTE: trailers\r\n"
    client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    response = http.client.HTTPResponse(client)
    response.begin()
    assert response.status == 200
    assert response.headers["connection"] == "close"


def test_an_offered_upgrade_is_declined_and_the_body_read(
    good: bytes, client: socket.socket
) -> None:
    """Java's HttpClient offers HTTP/2 with its first request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    client.sendall(good.replace(HOST, HOST + offer))
    client.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    assert statuses(client) == [200, 200]


def test_a_client_may_wait_for_100_before_it_sends_a_body(
    good: bytes, client: socket.socket
) -> None:
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


def test_no_response_names_the_server(client: socket.socket) -> None:
    """Neither a response of the application nor one of the connection."""
    client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\nnonsense\r\n\r\n")
    with client.makefile("rb") as file:
        received = file.read().lower()
    assert received.count(b"http/1.1 ") == 2
    assert b"\r\nserver:" not in received


def test_forwarded_headers_are_not_believed(service: Service) -> None:
    """Whoever reaches the service can send them, so the log has the client of the connection."""
    forwarded = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X-Forwarded-Proto": "https",
    }
    service.request("GET", "/forwarded", headers=forwarded)
    assert json.loads(service.wait_for_line("/forwarded"))["client"] == "127.0.0.1"


def test_a_response_never_has_a_header_with_a_line_break(client: socket.socket) -> None:
    client.sendall(b"GET /split HTTP/1.1\r\n" + HOST + b"\r\n")
    ((status, body),) = responses(client)
    assert status == 500
    assert b"Cookie" not in body


def test_a_client_that_does_not_read_loses_its_connection(service: Service) -> None:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n")
        wait_until(lambda: in_flight(service) == 1)
        wait_until(lambda: in_flight(service) == 0)


def in_flight(service: Service) -> float:
    """Return the number of requests in progress, without the one for the metrics."""
    return service.scrape()["serving_in_flight",] - 1


def test_rejected_requests_are_counted(service: Service, client: socket.socket) -> None:
    counter = ("serving_refused_total", "malformed-request")
    before = service.scrape().get(counter, 0)
    client.sendall(b"nonsense\r\n\r\n")
    assert statuses(client) == [400]
    assert service.scrape()[counter] == before + 1
