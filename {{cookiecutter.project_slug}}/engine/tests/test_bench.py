"""`bench` measures a service over HTTP, and says when a figure is not the service's."""

import http.server
import itertools
import json
import re
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving_engine.cli.bench.client import Load, Measured, open_loop, run_client
from serving_engine.cli.bench.report import Run, percentile
from serving_engine.cli.bench.target import Query, Target

from .conftest import Result
from .service import Service

Command = Callable[..., Result]
ENGINE = Path(__file__).parents[1]
"""Where the package of the tests' service is found."""

KEY = "0123456789abcdef"
QUICK = ["--seconds", "0.3", "--connections", "2", "--loads", "0.5"]


def test_it_starts_the_service_measures_it_and_writes_what_it_found(
    run: Command, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ENGINE)
    monkeypatch.setenv("SERVING_LOG_LEVEL", "error")
    output = tmp_path / "found"
    done = run("bench", "--model-dir", str(model_dir), "--output", str(output), *QUICK)
    assert done.code == 0, done.err
    title, header, closed, half, written = done.out.splitlines()
    assert title.startswith("test 1 at 127.0.0.1:")
    assert header.split()[:4] == ["load", "asked/s", "right/s", "p50"]
    assert closed.startswith("2 connections")
    assert half.startswith("50%")
    document = json.loads((output / "bench.json").read_text())
    first, second = document["runs"]
    assert first["answers"].keys() == second["answers"].keys() == {"200"}
    assert first["latency_ms"]["p50"] <= first["latency_ms"]["p99"]
    assert second["offered"] == pytest.approx(first["answered"] / 2)
    assert ET.fromstring((output / "bench.svg").read_text()).tag.endswith("svg")  # noqa: S314
    assert "bench.svg" in written


def test_it_measures_a_service_that_runs_with_its_key_and_rows_of_a_file(
    run: Command, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("sepal_length,sepal_width,petal_length,petal_width\n5,3,1,0\n6,3,5,2\n")
    with Service(model_dir, api_keys=KEY) as service:
        url = f"http://127.0.0.1:{service.port}"
        monkeypatch.setenv("SERVING_API_KEYS", KEY[::-1])
        refused = run("bench", url, "--file", str(table), *QUICK)
        assert refused.code == 2
        assert refused.err.startswith("error: the service answers 401 to GET /model HTTP/1.1: ")
        monkeypatch.setenv("SERVING_API_KEYS", KEY)
        done = run("bench", url, "--file", str(table), "--rows", "3", *QUICK)
        assert done.code == 0, done.err
        assert "3 rows in each request" in done.out


class Double(http.server.BaseHTTPRequestHandler):
    """A service that does what a test says, one request after the other."""

    protocol_version = "HTTP/1.1"
    answer: Callable[[], tuple[int, Any]]

    def do_GET(self) -> None:
        self._send(200, {"name": "test", "version": "1"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*type(self).answer())

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def double(answer: Callable[[], tuple[int, Any]]) -> Iterator[str]:
    """The URL of a service that answers predictions like that."""
    handler = type("Handler", (Double,), {"answer": staticmethod(answer)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A file with a row."""
    file = tmp_path / "rows.json"
    file.write_text('[{"a": 1}]')
    return str(file)


def test_wrong_answers_are_counted_and_end_it_with_code_1(run: Command, rows: str) -> None:
    every_other = itertools.cycle([0, 1])
    with double(lambda: (200, {"predictions": [next(every_other)]})) as url:
        done = run("bench", url, "--file", rows, *QUICK)
    assert done.code == 1
    assert re.search(r"^error: \d+ answers were wrong$", done.err, re.M)
    assert " wrong" in done.out.splitlines()[2]


def test_without_a_right_answer_there_is_no_load_to_measure(run: Command, rows: str) -> None:
    numbers = itertools.count()
    with double(lambda: (200, {"predictions": [next(numbers)]})) as url:
        done = run("bench", url, "--file", rows, *QUICK)
    assert done.code == 2
    assert "error: no answer was right" in done.err


def test_refusals_are_no_latencies() -> None:
    with double(lambda: (503, {})) as url:
        measured = open_run(url, rate=40, seconds=0.3)
    assert measured.latencies == []
    assert measured.counts.keys() == {"503"}


def test_the_latency_counts_from_when_a_request_was_due() -> None:
    """A service that stops for half a second delays all that are due meanwhile."""
    stops = iter([0.5])

    def answer() -> tuple[int, Any]:
        time.sleep(next(stops, 0))
        return 200, {"predictions": [1]}

    with double(answer) as url:
        measured = open_run(url, rate=100, seconds=0.5)
    late = [latency for latency in measured.latencies if latency > 0.1]
    assert len(late) > len(measured.latencies) / 2


def open_run(url: str, rate: float, seconds: float) -> Measured:
    """An open loop over one connection."""
    target = Target.of(url, None)
    query = Query(target.request("POST", "/predict", b"{}"), [1])
    return run_client(open_loop(Load(target, [query], 1, seconds), rate, 0))


def test_a_service_that_does_not_answer_is_said_in_one_line(run: Command, rows: str) -> None:
    done = run("bench", "http://127.0.0.1:1", "--file", rows)
    assert done.code == 2
    assert done.err.startswith("error: the service does not answer: ")
    assert done.err.count("\n") == 1
    assert run("bench", "ftp://x", "--file", rows).code == 2


def test_a_service_that_cannot_start_is_said_with_its_own_line(
    run: Command, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ENGINE)
    monkeypatch.setenv("SERVING_MAX_MODEL_BYTES", "1")
    done = run("bench", "--model-dir", str(model_dir), *QUICK)
    assert done.code == 3
    assert "SERVING_MAX_MODEL_BYTES" in done.err


def test_it_says_when_the_client_was_the_limit() -> None:
    quick = Measured(100.0, latencies=[0.01] * 100, lags=[0.0] * 100, seconds=1, cpu=0.5)
    assert not Run("", quick).limited_by_client
    late = Measured(100.0, latencies=[0.01] * 100, lags=[0.0] * 90 + [0.1] * 10, seconds=1)
    assert Run("", late).limited_by_client
    busy = Measured(None, latencies=[0.01] * 100, seconds=1, cpu=0.95)
    assert Run("", busy).limited_by_client


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, q) for q in (0.5, 0.99, 1.0)] == [51, 100, 100]
