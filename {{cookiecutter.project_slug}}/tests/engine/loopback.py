"""A web server on this machine that misbehaves as it is told to."""

import ssl
import sys
import threading
from collections.abc import Callable
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self


class Request(NamedTuple):
    path: str
    headers: HTTPMessage


class Handler(BaseHTTPRequestHandler):
    server: "Loopback"

    def do_GET(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        replies = self.server.replies.get(self.path, [reply(status=404)])
        (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def do_CONNECT(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        self.send_error(403, "Not through here")

    def start(self, status: int, headers: dict[str, object]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def wait(self, seconds: float) -> bool:
        """Whether the server is closed by then."""
        return self.server.closing.wait(seconds)

    def log_message(self, *_: object) -> None:
        pass


Reply = Callable[[Handler], None]


def reply(
    body: bytes = b"", *, status: int = 200, cut: int | None = None, **headers: object
) -> Reply:
    """An answer; `cut` breaks it off after so many bytes. Content_Length=None leaves that out."""
    fields = {"Content-Length": len(body)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}

    def send(handler: Handler) -> None:
        handler.start(status, {name: value for name, value in fields.items() if value is not None})
        handler.wfile.write(body[:cut])

    return send


def redirect(location: str, status: int = 302) -> Reply:
    return reply(status=status, Location=location)


def rest(body: bytes, *, etag: str | None = None) -> Reply:
    """What a server does that can continue a download: 206 with the bytes from Range on."""

    def send(handler: Handler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        reply(
            body[start:],
            status=206,
            Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}",
            ETag=etag,
        )(handler)

    return send


def stall(body: bytes, at: int) -> Reply:
    """Sends so many bytes, then nothing more, and leaves the connection open."""

    def send(handler: Handler) -> None:
        handler.start(200, {"Content-Length": len(body)})
        handler.wfile.write(body[:at])
        handler.wait(60)

    return send


def drip(body: bytes) -> Reply:
    """A byte now and then: never silent for long, never done."""

    def send(handler: Handler) -> None:
        handler.start(200, {"Content-Length": len(body)})
        for byte in body:
            handler.wfile.write(bytes([byte]))
            if handler.wait(0.02):
                break

    return send


def silence(handler: Handler) -> None:
    handler.wait(60)


class Loopback(ThreadingHTTPServer):
    """`with Loopback() as server:` set `server.replies[path]`; the last reply of a path stays."""

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 32

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__((host, 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.base = f"{'https' if tls else 'http'}://{host}:{self.server_port}"
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # the client may hang up
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]
