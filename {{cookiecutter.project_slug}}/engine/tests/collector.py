"""A collector of traces, for tests: what it receives over OTLP/HTTP as plain values."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@contextmanager
def running_collector() -> Iterator["CollectorServer"]:
    """A collector that runs; the test is skipped without the extra `trace`."""
    pytest.importorskip("opentelemetry.proto", reason="needs the extra `trace`")
    with CollectorServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()


class CollectorServer(ThreadingHTTPServer):
    """A collector: `spans` are those that it has received, as dicts of plain values.

    status: that it returns. gate: it returns nothing while this is cleared.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), CollectorHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]


class CollectorHandler(BaseHTTPRequestHandler):
    server: CollectorServer

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.gate.wait(30)
        if self.server.status == 200:
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            message = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            self.server.headers.append({"path": self.path, **dict(self.headers.items())})
            for resource in message.resource_spans:
                about = values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self.server.spans += [decoded(span, about) for span in scope.spans]
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def decoded(span: Any, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": span.status.code,
        "kind": span.kind,
        "resource": resource,
        **values(span.attributes),
    }
