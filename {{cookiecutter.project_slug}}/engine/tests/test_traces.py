"""Traces: the headers of W3C Trace Context, and the spans that a real collector receives."""

import gzip
import json
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine import trace_headers
from serving_engine.model_files.manifest import Manifest
from serving_engine.telemetry import span_export
from serving_engine.telemetry.span_export import Collector, SpanExporter
from serving_engine.telemetry.trace_context import RequestSpan, Trace, read_trace
from serving_engine.telemetry.tracing import Tracer

from .models import example_row
from .service import Service, environment, samples, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
DROPPED = ("serving_traces_dropped_total",)


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


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    pytest.importorskip("opentelemetry.proto", reason="needs the extra `trace`")
    with CollectorServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()


@pytest.fixture
def tracing(collector: CollectorServer, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables that make a service send its spans to the collector, soon."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    return monkeypatch


def predict(client: TestClient, manifest: Manifest, rows: int = 1, **headers: str) -> Any:
    body = {"instances": [example_row(manifest)] * rows}
    return client.post("/predict", json=body, headers=headers)


# The spans of a request.


def test_a_request_is_a_server_span_with_its_parts_as_children(
    tracing: pytest.MonkeyPatch, collector: CollectorServer, app: FastAPI, manifest: Manifest
) -> None:
    tracing.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%20lab")
    tracing.setenv("OTEL_SERVICE_NAME", "flowers")
    tracing.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=secret")
    tracing.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with TestClient(app) as client:
        headers = {"traceparent": TRACEPARENT, "x-request-id": "mine"}
        assert predict(client, manifest, 3, **headers).status_code == 200
        client.get("/livez")
    (request,) = collector.named("POST /predict")
    assert (request["trace"], request["parent"]) == (TRACE, PARENT)
    assert request["kind"] == 2  # server
    assert request["http.route"] == request["url.path"] == "/predict"
    assert request["http.response.status_code"] == 200
    assert request["serving.rows"] == 3
    assert request["serving.request_id"] == "mine"
    assert request["resource"]["service.name"] == "flowers"
    assert request["resource"]["deployment.environment.name"] == "test lab"
    parse, queue, call = (collector.named(name)[0] for name in ("parse", "queue", "predict"))
    for child in (parse, queue, call):
        assert (child["trace"], child["parent"]) == (TRACE, request["id"])
    assert request["start"] == parse["start"] <= parse["end"] == queue["start"]
    assert queue["end"] == call["start"] < call["end"] <= request["end"]
    assert call["serving.batch.rows"] == 3
    assert call["serving.model.version"] == manifest.version
    assert len(collector.spans) == 4, "a probe is no span"
    assert collector.headers[0]["path"] == "/v1/traces"
    assert collector.headers[0]["x-api-key"] == "secret"


@pytest.mark.usefixtures("tracing")
def test_a_request_that_fails_is_a_span_too(collector: CollectorServer, app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as client:
        client.post("/predict", json={})
        client.get("/broken")
    (rejected,) = collector.named("POST /predict")
    (failed,) = collector.named("GET /broken")
    assert (rejected["http.response.status_code"], rejected["status"]) == (422, 0)
    assert (failed["http.response.status_code"], failed["status"]) == (500, 2)


@pytest.mark.usefixtures("tracing")
def test_the_wait_of_a_request_whose_deadline_passes_is_a_span(
    collector: CollectorServer,
    gated_client: tuple[TestClient, threading.Event],
    manifest: Manifest,
) -> None:
    client, gate = gated_client
    app = client.app
    app.state.tracer.start()  # type: ignore[attr-defined]
    gate.clear()
    response = predict(client, manifest, **{"x-request-timeout-ms": "30"})
    gate.set()
    assert response.status_code == 504
    wait_until(lambda: collector.named("queue"))


@pytest.mark.parametrize(
    ("variables", "recorded", "recorded_below_unsampled"),
    [
        ({}, True, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, True, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, False, False),
        ({"OTEL_TRACES_SAMPLER_ARG": "0"}, True, False),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "no"},
            True,
            False,
        ),
        ({"OTEL_SDK_DISABLED": "true"}, False, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False, False),
    ],
)
def test_the_samplers_of_opentelemetry_decide(
    tracing: pytest.MonkeyPatch,
    variables: dict[str, str],
    recorded: bool,
    recorded_below_unsampled: bool,
) -> None:
    for name, value in variables.items():
        tracing.setenv(name, value)
    tracer = Tracer("service", "1")
    tracer.start()
    trace = tracer.begin(None, [])
    assert (trace is not None and trace.recorded) == recorded == tracer.samples
    trace = tracer.begin(TRACEPARENT[:-1].encode() + b"0", [])
    assert trace is not None
    assert trace.recorded == recorded_below_unsampled
    if trace.recorded:
        assert trace.headers()["traceparent"].endswith("-01")


def test_a_share_of_the_requests_is_recorded(tracing: pytest.MonkeyPatch) -> None:
    tracing.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    tracing.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    tracer = Tracer("service", "1")
    tracer.start()
    recorded = [tracer.begin(None, []) for _ in range(5000)]
    assert 350 < sum(trace is not None for trace in recorded) < 650
    ends = [(f"00-{'1' * 16}{end}-{PARENT}-00", end < "1a") for end in ("10" * 8, "f0" * 8)]
    for header, expected in ends:
        trace = tracer.begin(header.encode(), [])
        assert trace is not None
        assert trace.recorded == expected, "the same decision as that of every other service"


# Without a collector, or with one that does not work.


@pytest.mark.usefixtures("tracing")
def test_a_collector_that_fails_costs_traces_and_one_line(
    collector: CollectorServer,
    client: TestClient,
    manifest: Manifest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "traces")
    collector.status = 503
    for number in range(1, 4):
        assert predict(client, manifest).status_code == 200
        wait_until(lambda n=number: samples(client.get("/metrics").text)[DROPPED] == n)
    lines = [record.getMessage() for record in caplog.records if record.name == "traces"]
    assert len(lines) == 1
    assert "the collector returned 503" in lines[0]
    collector.status = 200
    predict(client, manifest)
    wait_until(lambda: "traces are delivered again" in caplog.text)
    assert samples(client.get("/metrics").text)[DROPPED] == 3


def test_a_collector_that_hangs_fills_a_bounded_queue(
    collector: CollectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "MAX_QUEUED", 5)
    collector.gate.clear()
    exporter = SpanExporter(Collector(f"{collector.url}/v1/traces", {}, gzip=False), {}, 0.01)
    exporter.start()
    attributes = {"http.response.status_code": 200}
    span = RequestSpan(Trace(TRACE, PARENT, 1), "GET /", attributes, 0.0, 0.1)
    exporter.put(span)
    wait_until(lambda: not exporter._queue)
    for _ in range(8):
        exporter.put(span)
    assert (len(exporter._queue), exporter.dropped) == (5, 3)
    collector.gate.set()
    exporter.end(10)
    wait_until(lambda: not exporter.is_alive())
    assert len(collector.named("GET /")) == 6


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc', which is unsupported"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318"}, "is no URL"),
    ],
)
def test_a_wrong_variable_is_logged_and_no_reason_not_to_serve(
    tracing: pytest.MonkeyPatch,
    app: FastAPI,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    text: str,
) -> None:
    for name, value in variables.items():
        tracing.setenv(name, value)
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
    assert caplog.text.count("traces are off") == 1
    assert text in caplog.text


def test_without_the_extra_a_line_names_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr("serving_engine.telemetry.tracing.find_spec", lambda _: None)
    tracer = Tracer("service", "1")
    tracer.start()
    assert not tracer.samples
    assert "uv add 'serving-engine[trace]'" in caplog.text


# The header, in logs and on the way to other services.


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        (TRACEPARENT, True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-adds", True),
        (f"00-{TRACE}-{PARENT}-01-what-the-future-adds", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (TRACEPARENT.upper(), False),
        (TRACEPARENT + "\n", False),
        ("", False),
    ],
)
def test_a_traceparent_that_is_invalid_is_ignored(header: str, valid: bool) -> None:
    assert (read_trace(header.encode(), []) is not None) == valid


def test_the_trace_is_in_the_log_and_goes_on_to_other_services(app: FastAPI) -> None:
    lines: list[str] = []

    @app.get("/own")
    async def own() -> dict[str, str]:
        from serving_engine.telemetry.logs import JSONFormatter

        record = logging.makeLogRecord({"msg": "of the owner"})
        lines.append(JSONFormatter("iris").format(record))
        return trace_headers()

    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "x-request-id": "mine"}
    with TestClient(app) as client:
        continued = client.get("/own", headers=headers).json()
        assert client.get("/own").json() == {}
    assert continued == {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    first, second = map(json.loads, lines)
    assert (first["trace_id"], first["span_id"]) == (TRACE, PARENT)
    assert (first["request_id"], first["service"]) == ("mine", "iris")
    assert "trace_id" not in second
    assert trace_headers() == {}


# Real processes.


class TracedService(Service):
    """A service that sends its spans to a collector."""

    def __init__(self, collector: str, model_dir: Path, *arguments: str, **settings: Any) -> None:
        super().__init__(model_dir, *arguments, **settings)
        self._environment |= environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector)


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections are accepted by the system, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux")
def test_every_worker_sends_its_spans_and_the_last_ones_in_the_drain(
    collector: CollectorServer, model_dir: Path, manifest: Manifest
) -> None:
    """The exporter waits 5 s: what arrives was sent by the drain."""
    with TracedService(collector.url, model_dir, "--workers", "2", drain_delay=0) as service:
        body = {"instances": [example_row(manifest)]}
        for _ in range(20):
            assert service.request("POST", "/predict", json=body).status_code == 200
        assert service.stop() == 0
    spans = collector.named("POST /predict")
    assert len(spans) == 20
    assert len({span["resource"]["service.instance.id"] for span in spans}) == 2
    logged = [json.loads(line) for line in service.lines if '"POST /predict 200"' in line]
    assert {line["trace_id"] for line in logged} == {span["trace"] for span in spans}
    assert {(line["rows"], line["model_version"]) for line in logged} == {(1, manifest.version)}
    assert {line["service"] for line in logged} == {"tests.example-service"}


def test_a_collector_that_hangs_delays_neither_a_request_nor_the_end(
    model_dir: Path, manifest: Manifest
) -> None:
    pytest.importorskip("opentelemetry.proto", reason="needs the extra `trace`")
    with silent_port() as port:
        url = f"http://127.0.0.1:{port}"
        with TracedService(url, model_dir, drain_delay=0, drain_timeout=0.5) as service:
            assert service.predict([example_row(manifest)]).status_code == 200
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(8) == 0  # the collector has 10 s to answer
    assert not any(re.search(r'"level":"(error|critical)"', line) for line in service.lines)
