"""What a platform relies on: what is loaded and when, and how the service starts and ends."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine import LoadedModel, Manifest, Model, get_model, load_and_warm

from {{ cookiecutter.__package_name }} import app as service
from {{ cookiecutter.__package_name }}.settings import Settings

PACKAGE = "{{ cookiecutter.__package_name }}"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each time that `app.py` loads the model: what `/readyz` answers meanwhile."""
    statuses: list[int] = []

    async def load(app: FastAPI, model: LoadedModel | None = None) -> Model:
        statuses.append(TestClient(app).get("/readyz").status_code)
        return await load_and_warm(app, model)

    monkeypatch.setattr(service, "load_and_warm", load)
    return statuses


def test_the_model_is_loaded_once_at_start_and_never_by_a_request(
    settings: Settings, manifest: Manifest, loads: list[int]
) -> None:
    opened: list[str] = []  # every file that this process opens, by whatever code
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    app = service.create_app(settings)
    with TestClient(app) as client:
        model = app.state.model
        opened.clear()
        for example in manifest.examples[:10]:
            response = client.post("/predict", json={"instances": [example.input]})
            assert response.status_code == 200, response.text
        assert app.state.model is model
        assert not {"manifest.json", manifest.artifact.file} & set(map(os.path.basename, opened))
    assert len(loads) == 1


def test_the_service_is_ready_once_its_model_is_and_until_it_drains(
    app: FastAPI, loads: list[int]
) -> None:
    probes = {"/readyz", "/v2/health/ready", "/ping", "/vertex/health"}
    probes &= app.openapi()["paths"].keys()
    with TestClient(app) as client:
        assert loads == [503]
        assert {client.get(probe).status_code for probe in probes} == {200}
        app.state.readiness.drain()
        assert {client.get(probe).status_code for probe in probes} == {503}


def test_overriding_get_model_replaces_the_model_for_every_route(
    app: FastAPI, client: TestClient, loaded: LoadedModel, bodies: dict[str, Any]
) -> None:
    def fail(_rows: Any) -> Any:
        raise ValueError("the other model")

    other = Model(replace(loaded, predict=fail), app.state.settings, app.state.metrics)
    app.dependency_overrides[get_model] = lambda: other
    for path, body in bodies.items():
        assert client.post(path, json=body).status_code == 500, f"{path} uses another model"
    other.close()


@contextmanager
def serve(model_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """`serve` in a process of its own, which is killed at the end, or after a minute."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERVING_")}
    given = {"MODEL_DIR": model_dir, "HOST": "127.0.0.1", "PORT": 0, "WORKERS": 1}
    given |= {"DRAIN_DELAY": 0, "LOG_LEVEL": "info"}
    with subprocess.Popen(
        [sys.executable, "-m", PACKAGE, "serve"],
        env=kept | {f"SERVING_{name}": str(value) for name, value in given.items()},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    ) as process:
        deadline = threading.Timer(60, process.kill)
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def die_with_parent() -> None:
    """Let the kernel kill this process if the tests end without having done so."""
    set_death_signal = 1  # prctl(2), PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def test_a_start_that_fails_says_why_in_one_line_and_ends_with_code_3(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        _, log = process.communicate()
    assert process.returncode == 3, log
    assert log.count("\n") == 1, log
    assert "model missing" in log


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to handle")
def test_a_process_serves_until_sigterm_and_ends_with_code_0(
    settings: Settings, manifest: Manifest
) -> None:
    with serve(settings.model_dir) as process:
        assert process.stderr
        log = ""
        while not (found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", log)):
            log += process.stderr.readline() or pytest.fail(f"it ended:\n{log}")
        with httpx2.Client(base_url=found[1], trust_env=False) as client:
            response = client.post("/predict", json={"instances": [manifest.examples[0].input]})
            assert response.status_code == 200, response.text
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
