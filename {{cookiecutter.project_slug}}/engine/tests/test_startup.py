"""The start of a service, and the failures of a start, in real processes."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from serving_engine import ServingSettings
from serving_engine.model_files.manifest import Manifest
from serving_engine.process.ports import links

from .models import example_row
from .service import PACKAGE, PATIENCE, Service, die_with_parent, environment, run, wait_until

WORKERS = [1, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="-"))]


def test_nothing_listens_until_the_model_is_ready(held_model: Path, hold: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(held_model, "--port", str(port)).start()
    try:
        wait_until((hold / "loading").exists)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with pytest.raises(OSError), socket.socket() as second:  # noqa: PT011
            second.bind(("127.0.0.1", port))
        (hold / "release").touch()
        assert json.loads(service.wait_for_line("listening on"))["engine"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE) as ready:
            assert json.load(ready) == {"status": "ready"}
    finally:
        service.process.kill()
        service.wait()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_failed_start_ends_with_code_3_and_one_line(command: str, tmp_path: Path) -> None:
    ended = run(command, SERVING_MODEL_DIR=tmp_path, SERVING_PORT=0)
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert "model missing" in line
    assert "model fetch" in line


def test_a_service_serves_ends_with_code_0_and_starts_again_at_once_on_its_port(
    model_dir: Path, manifest: Manifest
) -> None:
    """Connections that the first service closed are still in TIME_WAIT on the port."""
    with Service(model_dir, drain_delay=0) as first:
        assert first.predict([example_row(manifest)]).status_code == 200
        line = first.wait_for_line(f"serving {manifest.name} {manifest.version}: ")
        assert f"try it at {first.url}/, its API is at {first.url}/docs" in line
        assert first.stop() == 0
    assert any("stopped" in line for line in first.lines)
    with Service(model_dir, "--port", str(first.port)) as second:
        assert second.port == first.port
        assert second.get("/livez").status_code == 200


def test_the_links_at_the_start_are_those_of_pages_that_there_are() -> None:
    def line(**settings: Any) -> str:
        return links("iris 1", "http://127.0.0.1:80", ServingSettings(**settings))

    assert line(docs=False) == "serving iris 1"
    assert line(page=False) == "serving iris 1: its API is at http://127.0.0.1:80/docs"
    assert "at http://127.0.0.1:80/models/iris/, " in line(root_path="/models/iris")


@pytest.mark.parametrize("workers", WORKERS)
def test_a_port_in_use_ends_with_code_3(model_dir: Path, workers: int) -> None:
    """Also if the other socket allows sharing: a second service must not get its requests."""
    with socket.socket() as taken:
        if sys.platform == "linux":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(
            *("serve", "--port", str(port), "--workers", str(workers)), SERVING_MODEL_DIR=model_dir
        )
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert f"port {port}" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("SERVING_PORT", "http"), ("SERVING_THREADS", "0"), ("SERVING_TYPO", "1")],
)
def test_a_bad_setting_ends_with_code_2_and_is_named(name: str, value: str) -> None:
    ended = run("serve", **{name: value})
    assert ended.returncode == 2
    (line,) = ended.stdout.splitlines()
    assert name in line


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_is_no_name_ends_with_code_3_and_one_line(
    model_dir: Path, host: str, workers: int
) -> None:
    ended = run(
        *("serve", "--workers", str(workers)),
        SERVING_MODEL_DIR=model_dir,
        SERVING_HOST=host,
        SERVING_PORT=0,
    )
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert "SERVING_HOST" in line


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_during_the_imports_ends_with_code_0_or_is_ignored(
    model_dir: Path, name: str
) -> None:
    """Python reports each import when it is done: the first of these is long before the last."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", PACKAGE, "serve"],
        env=environment(SERVING_MODEL_DIR=model_dir, SERVING_PORT=0),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )
    assert process.stderr
    lines = []
    signals = [signal.Signals[name]]
    if name == "SIGHUP":
        signals.append(signal.SIGTERM)
    for line in process.stderr:
        lines.append(line)
        for sig, module in zip(signals, ["pydantic_core", "pydantic_settings"], strict=False):
            if line.rpartition("|")[2].strip() == module:
                process.send_signal(sig)
    process.stderr.close()
    assert process.wait(PATIENCE) == 0
    assert "Traceback" not in "".join(lines)
    assert "listening on" not in "".join(lines)


class FactoryService(Service):
    """The application in uvicorn's own server."""

    ready = "running on"

    def __init__(self, model_dir: Path) -> None:
        super().__init__(model_dir)
        application = f"{PACKAGE}.app:create_app"
        self._command[2:] = ["uvicorn", "--factory", application, "--port", "0"]


def test_the_application_runs_with_uvicorns_factory_option(
    model_dir: Path, manifest: Manifest
) -> None:
    with FactoryService(model_dir) as service:
        assert service.get("/readyz").json() == {"status": "ready"}
        assert service.predict([example_row(manifest)]).status_code == 200
