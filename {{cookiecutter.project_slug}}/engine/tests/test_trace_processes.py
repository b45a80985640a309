"""Traces of real processes: of every worker, at the end, and with a collector that hangs."""

import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving_engine.model_files.manifest import Manifest

from .collector import running_collector
from .models import example_row
from .service import Service, environment


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
    model_dir: Path, manifest: Manifest
) -> None:
    """The exporter waits 5 s: what arrives was sent by the drain."""
    arguments = ("--workers", "2")
    with (
        running_collector() as collector,
        TracedService(collector.url, model_dir, *arguments, drain_delay=0) as service,
    ):
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
