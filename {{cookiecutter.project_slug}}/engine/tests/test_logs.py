"""Logs: each record is one line with any values, and a process writes log lines only."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from fastapi.testclient import TestClient
from serving_engine.runtimes.load import LoadedModel
from serving_engine.telemetry.captured_output import CapturedOutput
from serving_engine.telemetry.logs import JSONFormatter, TextFormatter

from .example_service.app import create_app
from .example_service.settings import Settings
from .service import PATIENCE, Service, environment

HOSTILE = [
    "\n",
    "\r\n2026-01-01T00:00:00.000Z INFO    forged",
    "\0",
    "\x1b[2J\x1b]0;title\x07",
    "\x7f\x85\x0b\x0c\x1c",
    "\u2028\u2029",
    "\u202e\u2066\u200f\ufeff",
    "\ud800 and \udfff",
    "\U0001f600 é ✓",
    '", "level": "error", "x": "',
    "\\n \\u000a",
    "a status=200 level=error",
]


class WithoutText:
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["json", "text"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def logger(output: io.StringIO, log_format: str) -> Iterator[logging.Logger]:
    """A logger with a formatter of the service."""
    handler = logging.StreamHandler(output)
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    logger = logging.Logger("test", "DEBUG")
    logger.addHandler(handler)
    yield logger
    handler.close()


def read(line: str) -> dict[str, object]:
    """Parse a line of JSON, with a strict parser too."""
    assert line.isascii()
    assert line.isprintable()
    assert orjson.loads(line) == json.loads(line)
    return dict(json.loads(line))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_a_line(
    logger: logging.Logger, output: io.StringIO, log_format: str, text: str
) -> None:
    logger.info("got %s!", text, extra={"value": text, "nested": {text: [text]}})
    (line,) = output.getvalue().splitlines()
    assert line.isprintable()
    if log_format == "json":
        members = read(line)
        assert members["level"] == "info"
        if text.isprintable():
            assert (members["message"], members["value"]) == (f"got {text}!", text)
    else:
        assert " INFO    got " in line
        fields = re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|[^" ]+)', line.partition("!")[2])
        assert [name for name, _ in fields] == ["value", "nested"]


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(10**5000),
        float("nan"),
        {1: 2},
        {"a"},
        b"\xff",
        WithoutText(),
        [WithoutText()],
        "x" * 10**6,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_value_loses_a_line(
    logger: logging.Logger, output: io.StringIO, log_format: str, value: object
) -> None:
    logger.info("got it", extra={"value": value, "status": 200})
    (line,) = output.getvalue().splitlines()
    assert len(line) < 10_000
    if log_format == "json":
        members = read(line)
        assert (members["message"], members["status"]) == ("got it", 200)
        assert "value" in members
    else:
        assert line.endswith(" status=200")


def test_a_cycle_does_not_lose_a_line(logger: logging.Logger, output: io.StringIO) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    logger.info("got it", extra={"value": cycle})
    assert "got it" in output.getvalue()


@pytest.mark.parametrize("arguments", [(1,), (1, 2, 3), (WithoutText(), 1), ("x", "y")])
def test_arguments_that_do_not_fit_do_not_lose_a_line(
    logger: logging.Logger, output: io.StringIO, arguments: tuple[object, ...]
) -> None:
    logger.info("%s of %d", *arguments)
    (line,) = output.getvalue().splitlines()
    assert "of %d" in line


@pytest.fixture
def failure(request: pytest.FixtureRequest) -> ValueError:
    """An exception that was raised, with the text of the parameter."""
    try:
        raise ValueError(request.param)  # noqa: TRY301
    except ValueError as error:
        return error


def test_extra_fields_do_not_replace_the_standard_fields(
    logger: logging.Logger, output: io.StringIO, log_format: str
) -> None:
    logger.info("real", extra={"level": "fatal", "time": "never", "logger": "forged"})
    if log_format == "json":
        members = read(output.getvalue().rstrip())
        assert (members["level"], members["logger"]) == ("info", "test")
        assert members["time"] != "never"


@pytest.mark.parametrize("failure", HOSTILE, indirect=True)
def test_an_exception_cannot_forge_a_line(
    logger: logging.Logger, output: io.StringIO, log_format: str, failure: ValueError
) -> None:
    logger.error("failed", exc_info=failure)
    first, *others = output.getvalue().splitlines()
    if log_format == "json":
        assert not others
        trace = str(read(first)["exception"])
        assert trace.startswith("Traceback")
        assert "ValueError" in trace
    else:
        assert others
        assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("failure", ["x" * 10**6 + " the end"], indirect=True, ids=["long"])
def test_a_long_exception_keeps_its_beginning_and_its_end(
    logger: logging.Logger, output: io.StringIO, failure: ValueError
) -> None:
    logger.error("failed", exc_info=failure)
    assert len(output.getvalue()) < 10_000
    assert "Traceback" in output.getvalue()
    assert "the end" in output.getvalue()


def test_a_terminal_shows_a_request_once(
    output: io.StringIO, settings: Settings, loaded: LoadedModel
) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(TextFormatter())
    access = logging.getLogger("access")
    access.addHandler(handler)
    access.setLevel("INFO")
    try:
        with TestClient(create_app(settings, loaded)) as client:
            client.get("/livez")
    finally:
        access.removeHandler(handler)
        access.setLevel("NOTSET")
    (line,) = output.getvalue().splitlines()
    assert " INFO    GET /livez 200 milliseconds=" in line
    assert line.count("/livez") == 1


# The access log.


@pytest.mark.parametrize("logged", [True, False])
def test_every_request_is_logged_in_one_line_unless_switched_off(
    model_dir: Path, loaded: LoadedModel, caplog: pytest.LogCaptureFixture, logged: bool
) -> None:
    caplog.set_level("INFO", "access")
    settings = Settings(model_dir=model_dir, access_log=logged)
    with TestClient(create_app(settings, loaded)) as client:
        client.get("/livez")
        client.post("/predict", json={}, headers={"X-Request-ID": "mine"})
        client.get("/nope")
    lines = [record.__dict__ for record in caplog.records if record.name == "access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == (
        [("GET", "/livez", 200), ("POST", "/predict", 422), ("GET", "/nope", 404)] * logged
    )
    assert [line["request_id"] for line in lines][1:2] == ["mine"] * logged


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a%0d%0aHTTP/1.1%20200", "/a%0d%0aHTTP/1.1%20200"),
        ("/%1b%5b2J%00%e2%80%ae", "/%1b%5b2J%00%e2%80%ae"),
        ("/nope?key=secret", "/nope"),
        ("/" + "a" * 5000, "/" + "a" * 299 + "..."),
    ],
)
def test_a_path_is_logged_as_it_was_sent(
    client: TestClient, caplog: pytest.LogCaptureFixture, target: str, path: str
) -> None:
    caplog.set_level("INFO", "access")
    client.get(target)
    (line,) = [record for record in caplog.records if record.name == "access"]
    assert line.__dict__["path"] == path
    assert line.getMessage() == f"GET {path} 404"


def test_a_high_rate_is_sampled_and_errors_are_always_logged(
    settings: Settings,
    loaded: LoadedModel,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("serving_engine.web.access_log.time", clock)
    caplog.set_level("INFO", "access")
    sampled = settings.model_copy(update={"access_log_per_second": 2})
    with TestClient(create_app(sampled, loaded)) as client:
        for _ in range(5):
            client.get("/livez")
        client.get("/nope")
        client.get("/livez")
        now = 101.0
        client.get("/livez")
    lines = [record.__dict__ for record in caplog.records if record.name == "access"]
    assert [(line["status"], line.get("skipped", 0)) for line in lines] == [
        (200, 0),
        (200, 0),
        (404, 3),
        (200, 1),
    ]


def test_the_reason_of_a_rejected_request_is_in_the_debug_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"instances": [["secret", 1, 2, 3]]}
    client.post("/predict", json=body)
    assert "rejected" not in caplog.text
    caplog.set_level("DEBUG", "serving_engine")
    client.post("/predict", json=body)
    client.post("/predict", content=b"{", headers={"Content-Type": "application/json"})
    wrong, malformed = (r for r in caplog.records if "request rejected" in r.getMessage())
    assert wrong.__dict__["errors"] == ["/instances/0/0 must be a finite number (sepal_length)"]
    assert (wrong.__dict__["status"], malformed.__dict__["status"]) == (422, 400)
    assert "Row 0 does not fit" in wrong.getMessage()
    assert "secret" not in caplog.text


# Processes.

SCRIPT = """
import logging, os, sys, threading, warnings
from serving_engine.telemetry.logs import configure_logs
os.dup2(2, 1)
configure_logs("json", sys.argv[1])
configure_logs("json", sys.argv[1])
print("printed", "twice", sep="\\n")
print("no line end", end="")
sys.stdout.flush()
print("to stderr", file=sys.stderr)
warnings.warn("warned")
logging.getLogger("library").debug("details")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
other = logging.StreamHandler()
logging.getLogger().addHandler(other)
print("with another handler")
logging.getLogger().removeHandler(other)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
threading.Thread(target=sys.exit).start()
raise RuntimeError("the\\nend")
"""


STREAMS = [("stdout", "info"), ("stderr", "warning")]


def run_script_at_level(level: str) -> tuple[int, list[dict[str, object]]]:
    """Run SCRIPT in a new process; return its exit code and its log lines."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, level],
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.stdout == ""
    return ended.returncode, [read(line) for line in ended.stderr.splitlines()]


def test_a_process_writes_log_lines_only() -> None:
    code, lines = run_script_at_level("info")
    assert code == 1
    messages = [(line["logger"], line["level"], line["message"]) for line in lines]
    assert messages[:4] == [
        ("stdout", "info", "printed"),
        ("stdout", "info", "twice"),
        ("stdout", "info", "no line end"),
        ("stderr", "warning", "to stderr"),
    ]
    assert messages[4][:2] == ("py.warnings", "warning")
    assert "warned" in str(messages[4][2])
    assert messages[5:7] == [(name, level, "with another handler") for name, level in STREAMS]
    assert messages[7:] == [("crash", "critical", "crashed")] * 2
    assert "ZeroDivisionError" in str(lines[7]["exception"])
    assert str(lines[8]["exception"]).endswith("RuntimeError: the\nend")


def test_the_level_decides_which_records_are_logged() -> None:
    _, lines = run_script_at_level("error")
    assert [line["logger"] for line in lines] == ["crash"] * 2
    _, lines = run_script_at_level("debug")
    assert "details" in [line["message"] for line in lines]


NOISY_MODEL = """
import dataclasses, os, sys, warnings
from serving_engine import Service, application, run_command_line
from tests.example_service import app
os.dup2(2, 1)
load = application.load_model
def load_noisy(*arguments):
    loaded = load(*arguments)
    def predict(*arguments):
        print("predicting\\nnow")
        print("[Parallel(n_jobs=1)]: Done", file=sys.stderr)
        warnings.warn("old model")
        return loaded.predict(*arguments)
    return dataclasses.replace(loaded, predict=predict)
application.load_model = load_noisy
create = app.create_app
def create_with_cut_route(*arguments):
    made = create(*arguments)
    @made.get("/cut")
    async def cut():
        async def half():
            yield b"half"
            raise ValueError("the other half failed")
        return app.StreamingResponse(half(), headers={"Content-Length": "8"})
    return made
from fastapi.responses import StreamingResponse
app.StreamingResponse = StreamingResponse
app.create_app = create_with_cut_route
run_command_line(Service("tests.example_service"), ["serve"])
"""


class NoisyService(Service):
    """A service whose model prints and warns, with a route whose response ends too early."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(model_dir, drain_delay=0)
        self._command = [sys.executable, "-c", NOISY_MODEL]


def test_a_service_writes_log_lines_only(model_dir: Path, loaded: LoadedModel) -> None:
    with NoisyService(model_dir) as service:
        row = loaded.manifest.examples[0].input
        for _ in range(3):
            assert service.predict([row]).status_code == 200
        with pytest.raises(Exception, match=r"complete message|closed"):
            service.get("/cut", headers={"X-Request-ID": "cut"})
        service.stop()
    lines = [read(line) for line in service.lines]
    messages = [str(line["message"]) for line in lines if line["logger"] == "stdout"]
    assert messages.count("predicting") == messages.count("now") >= 3
    errors = [line for line in lines if line["level"] == "error"]
    assert [line["request_id"] for line in errors] == ["cut"], "once, not by uvicorn too"
    assert "the other half failed" in str(errors[0]["exception"])
    assert {str(line["logger"]).partition(".")[0] for line in lines} <= {
        *("serving_engine", "access", "server", "stdout", "stderr", "py")
    }


def test_lines_of_several_threads_are_not_mixed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "captured")
    stream = CapturedOutput("captured", logging.INFO, sys.stdout)
    ready = threading.Barrier(4)

    def write(name: str) -> None:
        ready.wait()
        for _ in range(50):
            for part in (name, " ", name, "\n"):
                stream.write(part)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(caplog.messages) == sorted(f"{name} {name}" for name in "abcd" * 50)


def test_a_very_long_line_is_logged_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "captured")
    stream = CapturedOutput("captured", logging.INFO, sys.stdout)
    for _ in range(100):
        stream.write("x" * 1000)
    assert len(caplog.records) > 5
