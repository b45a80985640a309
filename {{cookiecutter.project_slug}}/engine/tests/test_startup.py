"""The start of a service, and the failures of a start, in real processes."""

import json
import os
import shutil
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from serving_engine.model_files.manifest import Manifest

from .models import example_row
from .service import PACKAGE, PATIENCE, Service, run


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in the file system")
def test_nothing_listens_until_the_model_is_ready(model_dir: Path, tmp_path: Path) -> None:
    """The artifact is a pipe: the service loads until the test has written to it."""
    slow_model = tmp_path / "model"
    slow_model.mkdir()
    shutil.copy(model_dir / "manifest.json", slow_model)
    artifact = next(path for path in model_dir.iterdir() if path.name != "manifest.json")
    pipe = slow_model / artifact.name
    os.mkfifo(pipe)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(slow_model, "--port", str(port)).start()
    try:
        # Opening for writing returns when the service has opened the pipe: it is loading now.
        with pipe.open("wb") as writer:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with pytest.raises(OSError), socket.socket() as second:  # noqa: PT011
                second.bind(("127.0.0.1", port))
            writer.write(artifact.read_bytes())
        service.wait_for_line("listening on")
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
        assert first.stop() == 0
    assert any("stopped" in line for line in first.lines)
    with Service(model_dir, "--port", str(first.port)) as second:
        assert second.port == first.port
        assert second.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="-"))]
)
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
