"""The short way of a request gives the bytes of the long way, and is taken only where it may be."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_engine import FastRoute, include_fast_router, install
from serving_engine.asgi import App, Message, Receive, Scope, Send
from serving_engine.http.cycle import RequestResponseCycle
from serving_engine.process.server import configure
from serving_engine.web.short_way import ShortWay
from starlette.middleware.exceptions import ExceptionMiddleware

from .example_service.settings import Settings
from .service import PATIENCE, Service

LONG = """
from serving_engine.web.short_way import Entry, ShortWay

enter, find = Entry.__call__, ShortWay._find

def is_long(scope):
    return (b"x-long", b"1") in scope.get("headers", ())

Entry.__call__ = lambda self, scope, *rest: (
    self.app(scope, *rest) if is_long(scope) else enter(self, scope, *rest)
)
ShortWay._find = lambda self, scope: None if is_long(scope) else find(self, scope)
"""
"""Makes a service take the long way for a request that has the header `X-Long: 1`."""

CHANGES = re.compile(rb"(x-request-id: )[0-9a-f]{12}-[0-9a-f]+|(date: )[^\r]+")

NUMBERS = st.floats(-10, 10) | st.integers(-10, 10)
ROWS = st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=3)
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
BODIES = (
    st.builds(lambda rows: orjson.dumps({"instances": rows}), ROWS)
    | st.builds(lambda rows: orjson.dumps({"instances": rows}), JUNK)
    | st.builds(orjson.dumps, JUNK)
    | st.sampled_from([b"", b"{", b'{"instances": [[1e400, 1, 1, 1]]}', b"\xff"])
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Type: application/json; charset=utf-8",
            b"Content-Type: text/plain",
            b"Content-Encoding: gzip",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Expect: 100-continue",
            b"X-Request-ID: mine.1",
            b"X-Request-ID: not valid",
            b"X-Request-Timeout-Ms: 9000",
            b"X-Request-Timeout-Ms: 0",
            b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ]
    ),
    max_size=4,
)
TARGETS = st.sampled_from([b"POST /predict"] * 6 + [b"POST /predict?a=1", b"POST /predict/"]) | (
    st.sampled_from([b"GET /predict", b"HEAD /predict", b"PUT /predict", b"GET /livez", b"GET /x"])
)


@pytest.fixture(scope="module")
def service(model_dir: Any) -> Iterator[Service]:
    with Service(model_dir, patches=LONG) as service:
        yield service


@settings(max_examples=80, deadline=None)
@given(
    requests=st.lists(st.tuples(TARGETS, HEADERS, BODIES, st.booleans()), min_size=1, max_size=3)
)
def test_both_ways_send_the_same_bytes(
    service: Service, requests: list[tuple[bytes, list[bytes], bytes, bool]]
) -> None:
    assert exchange(service, requests, b"0") == exchange(service, requests, b"1")


def exchange(
    service: Service, requests: list[tuple[bytes, list[bytes], bytes, bool]], long: bytes
) -> bytes:
    """What a connection receives for these requests, sent at once; without new ids and the time."""
    sent = b""
    for target, headers, body, chunked in requests:
        framing = b"Content-Length: %d" % len(body)
        sent_body = body
        if chunked:
            framing = b"Transfer-Encoding: chunked"
            sent_body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        lines = [target + b" HTTP/1.1", b"Host: a", b"X-Long: " + long, framing, *headers]
        sent += b"\r\n".join([*lines, b"", sent_body])
    sent += b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    return CHANGES.sub(rb"\1\2", received)


class OwnError(Exception):
    """An exception of the owner's."""


class Recorder:
    """Middleware of the owner's: notes the messages that pass it, and adds a header."""

    def __init__(self, app: App, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            self.seen.append(message["type"])
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-own", b"1")]
            await send(message)

        await self.app(scope, receive, note if scope["type"] == "http" else send)


async def get_base() -> str:
    return "base"


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that were called."""
    called: list[str] = []

    def watch(kind: type[Any], name: str) -> None:
        original = kind.__call__

        async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                called.append(name)
            await original(self, scope, receive, send)

        monkeypatch.setattr(kind, "__call__", call)

    watch(ExceptionMiddleware, "inner")
    watch(AsyncExitStackMiddleware, "inner")
    watch(FastAPI, "outer")
    return called


def make(settings: Settings, **options: Any) -> FastAPI:
    """An application with fast routes that end in every way. options: of FastAPI."""
    router = APIRouter(route_class=FastRoute)

    @router.post("/json", response_model=None, status_code=201)
    async def json(base: str = Depends(get_base)) -> dict[str, str]:
        return {"base": base}

    @router.post("/response", response_model=None)
    async def response() -> Response:
        return Response("text", 202, {"x-r": "1"}, "text/plain")

    @router.post("/http-error", response_model=None)
    async def http_error() -> None:
        raise HTTPException(418, "short", headers={"x-e": "1"})

    @router.post("/own-error", response_model=None)
    async def own_error() -> None:
        raise OwnError

    @router.post("/crash", response_model=None)
    async def crash() -> None:
        raise ZeroDivisionError

    @router.post("/unencodable", response_model=None)
    async def unencodable() -> object:
        return {"number": 2**70}

    @router.post("/scope", response_model=None)
    async def scope(request: Request) -> list[str]:
        route = request.scope["route"].path
        return [str(request.url_for("response")), route, *map(str, request.path_params)]

    off = {"tracing": False, "metrics": False, "logs": False}
    app = FastAPI(**{"telemetry": off, **options})
    install(app, settings)
    include_fast_router(app, router)

    @app.exception_handler(OwnError)
    async def handle(_request: Request, _error: Exception) -> Response:
        return Response("own", 409)

    return app


def client_of(app: FastAPI) -> AbstractContextManager[TestClient]:
    """A client that calls the application as the server does."""

    async def entry(scope: Scope, receive: Receive, send: Send) -> None:
        await app.state.entry(scope, receive, send)

    return TestClient(entry)


@pytest.mark.parametrize(
    "path",
    ["json", "response", "http-error", "own-error", "crash", "unencodable", "scope"],
)
def test_every_end_of_a_handler_is_the_same(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for application in (client_of, TestClient):
        with application(make(settings)) as client:
            end = client.post(f"/{path}", headers={"x-request-id": "id"})
            ends.append((end.status_code, end.headers, end.content))
        monkeypatch.setattr(ShortWay, "_find", lambda *_: None)
    assert ends[0] == ends[1]


def test_no_layer_is_called_for_json(settings: Settings, layers: list[str]) -> None:
    app = make(settings)
    with client_of(app) as client:
        assert client.post("/json").json() == {"base": "base"}
        assert layers == []
        client.post("/response")
        assert layers == ["inner", "inner"]


def test_an_override_takes_the_long_way(settings: Settings, layers: list[str]) -> None:
    app = make(settings)
    with client_of(app) as client:
        app.dependency_overrides[get_base] = lambda: "overridden"
        assert client.post("/json").json() == {"base": "overridden"}
        assert layers == ["inner", "inner"]


@pytest.mark.parametrize("place", ["around", "within"])
def test_middleware_of_the_owner_sees_every_message(settings: Settings, place: str) -> None:
    app = make(settings)
    seen: list[str] = []
    app.add_middleware(Recorder, seen=seen)
    if place == "within":
        app.user_middleware.append(app.user_middleware.pop(0))
    with client_of(app) as client:
        assert client.post("/json").headers["x-own"] == "1"
    assert seen == ["http.response.start", "http.response.body"]


def test_a_route_in_front_is_not_skipped(settings: Settings) -> None:
    app = make(settings)

    @app.post("/{name}")
    async def front(name: str) -> str:
        return name

    app.router.routes.insert(0, app.router.routes.pop())
    with client_of(app) as client:
        assert client.post("/json").json() == "json"


@pytest.mark.parametrize("root_path", ["", "/mounted"])
def test_telemetry_and_a_root_path_take_the_long_way(
    settings: Settings, layers: list[str], root_path: str
) -> None:
    app = make(settings, **({} if root_path else {"telemetry": None}))
    app.root_path = root_path
    with client_of(app) as client:
        assert client.post("/json").status_code == 201
    assert layers[0] == "outer"


def test_the_server_calls_what_wraps_the_application(app: FastAPI, settings: Settings) -> None:
    wrapper = SimpleNamespace(state=app.state)
    assert configure(wrapper, settings).loaded_app is wrapper  # type: ignore[arg-type]
    assert configure(app, settings).loaded_app is app.state.entry  # type: ignore[arg-type]


@pytest.mark.parametrize("obstacle", ["write_paused", "disconnected", "HEAD"])
def test_a_response_in_one_call_is_not_sent_where_it_must_wait_or_has_no_body(
    obstacle: str,
) -> None:
    connection = SimpleNamespace(
        flow=SimpleNamespace(write_paused=obstacle == "write_paused"), default_headers=list
    )
    scope = {"method": "HEAD" if obstacle == "HEAD" else "POST"}
    cycle = RequestResponseCycle(connection, scope, keep_alive=True)  # type: ignore[arg-type]
    cycle.disconnected = obstacle == "disconnected"
    assert not cycle.respond(200, [], b"")
    assert cycle.nothing_sent


def test_only_a_body_of_which_nothing_was_received_is_whole() -> None:
    limits = SimpleNamespace(body_bytes=10)
    connection = SimpleNamespace(limits=limits, flow=SimpleNamespace(write_paused=False))
    cycle = RequestResponseCycle(connection, {}, keep_alive=True)  # type: ignore[arg-type]
    cycle.feed_body(b"1")
    assert cycle.whole_body() is None  # more of it follows
    assert asyncio.run(cycle.receive()) == {  # type: ignore[arg-type]
        "type": "http.request",
        "body": b"1",
        "more_body": True,
    }
    cycle.feed_body(b"2")
    cycle.end_body()
    assert cycle.whole_body() is None
    assert asyncio.run(cycle.receive())["body"] == b"2"  # type: ignore[arg-type]
