"""A web server on this machine that sends scripted replies, valid or not."""

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
    server: "BadServer"

    def do_GET(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        replies = self.server.replies.get(self.path, [reply(status=404)])
        (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def do_CONNECT(self) -> None:
        self.server.requests.append(Request(self.path, self.headers))
        self.send_error(403, "No tunnels")

    def send_head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def wait_for_close(self, seconds: float) -> bool:
        """Wait until the server is closed, at most `seconds`; return whether it is."""
        return self.server.closing.wait(seconds)

    def log_message(self, *_: object) -> None:
        pass


Reply = Callable[[Handler], None]


def reply(
    body: bytes = b"", *, status: int = 200, cut: int | None = None, **headers: object
) -> Reply:
    """Send a response, cut after `cut` bytes. Content_Length=None leaves out that header."""
    fields = {"Content-Length": len(body)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}

    def send(handler: Handler) -> None:
        handler.send_head(
            status, {name: value for name, value in fields.items() if value is not None}
        )
        handler.wfile.write(body[:cut])

    return send


def redirect(location: str, status: int = 302) -> Reply:
    return reply(status=status, Location=location)


def partial_content(body: bytes, *, etag: str | None = None) -> Reply:
    """Continue a download: send status 206 and the bytes from the start of the Range."""

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
    """Send the first `at` bytes, then keep the connection open without another byte."""

    def send(handler: Handler) -> None:
        handler.send_head(200, {"Content-Length": len(body)})
        handler.wfile.write(body[:at])
        handler.wait_for_close(60)

    return send


def drip(body: bytes) -> Reply:
    """Send single bytes with short pauses, so that no read times out."""

    def send(handler: Handler) -> None:
        handler.send_head(200, {"Content-Length": len(body)})
        for byte in body:
            handler.wfile.write(bytes([byte]))
            if handler.wait_for_close(0.02):
                break

    return send


def no_reply(handler: Handler) -> None:
    """Keep the connection open without a reply."""
    handler.wait_for_close(60)


class BadServer(ThreadingHTTPServer):
    """`with BadServer() as server:` and set `server.replies[path]`. The last reply is repeated."""

    daemon_threads = False  # `server_close` waits for them
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
        if not isinstance(sys.exception(), OSError):  # the client may disconnect
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]
