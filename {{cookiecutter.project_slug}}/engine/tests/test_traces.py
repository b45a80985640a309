"""Traces: the headers of W3C Trace Context, and the spans that a real collector receives."""

import json
import logging
import threading
from collections.abc import Iterator
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

from .collector import CollectorServer, running_collector
from .models import example_row
from .service import samples, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
DROPPED = ("serving_traces_dropped_total",)


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with running_collector() as server:
        yield server


@pytest.fixture
def tracing(collector: CollectorServer, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables that make a service send its spans: after 5 s, or at its end."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    return monkeypatch


@pytest.fixture
def soon(tracing: pytest.MonkeyPatch) -> None:
    """Spans are sent after 10 ms."""
    tracing.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")


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


@pytest.mark.usefixtures("soon")
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


@pytest.mark.usefixtures("soon")
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
        wait_until(lambda n=number: samples(client.get("/metrics").text)[DROPPED] == n, 10)
    lines = [record.getMessage() for record in caplog.records if record.name == "traces"]
    assert len(lines) == 1
    assert "the collector returned 503" in lines[0]
    collector.status = 200
    predict(client, manifest)
    wait_until(lambda: "traces are delivered again" in caplog.text, 10)
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
