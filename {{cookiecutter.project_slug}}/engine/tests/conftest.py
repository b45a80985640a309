"""Fixtures of the engine's tests, which use a model, settings and an application of their own."""

import gc
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine import LoadedModel, Manifest, Service
from serving_engine.cli.main import run_command_line
from serving_engine.runtimes.load import load_directory
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Values

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import package_held, package_iris, with_predict
from .service import PACKAGE, die_with_parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background jobs so, and child processes inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """End a process of pytest-xdist with the process that started it."""
    if hasattr(config, "workerinput"):
        die_with_parent()


def pytest_xdist_auto_num_workers() -> int:
    """Use more processes than processors, as some tests wait; not many, as each imports all."""
    return min(6, (os.cpu_count() or 2) * 3 // 2)


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collections, which would take 0.1 s each."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SERVING_", "AIP_", "OTEL_")) or name in {"PORT", "WEB_CONCURRENCY"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_iris(tmp_path_factory.mktemp("iris") / "model")


@pytest.fixture(scope="session")
def held_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_held(tmp_path_factory.mktemp("held") / "model")


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds up the loads of `held_model` until it has the file `release`."""
    folder = tmp_path / "hold"
    folder.mkdir()
    monkeypatch.setenv("HOLD_LOADS", str(folder))
    return folder


@pytest.fixture(scope="session")
def loaded(model_dir: Path) -> LoadedModel:
    return load_directory(model_dir, max_bytes=2**31)


@pytest.fixture
def manifest(loaded: LoadedModel) -> Manifest:
    return loaded.manifest


@pytest.fixture
def settings(model_dir: Path) -> Settings:
    return Settings(model_dir=model_dir)


@pytest.fixture
def app(settings: Settings, loaded: LoadedModel) -> FastAPI:
    return create_app(settings, loaded)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the running application, in its lifespan."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
def gated_client(
    settings: Settings, loaded: LoadedModel
) -> Iterator[tuple[TestClient, threading.Event]]:
    """A client of an application whose model waits while the event is cleared."""
    gate = threading.Event()
    gate.set()

    def predict(rows: Values) -> Outputs:
        assert gate.wait(30)
        return loaded.predict(rows)

    in_a_thread = settings.model_copy(update={"inline_seconds": 0, "request_timeout": 60.0})
    with TestClient(create_app(in_a_thread, with_predict(loaded, predict))) as client:
        yield client, gate
        gate.set()


@pytest.fixture(scope="module")
def own_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model, which the tests of a module may change."""
    return Path(shutil.copytree(model_dir, tmp_path_factory.mktemp("own") / "model"))


class Result:
    """The exit code and the output of a command."""

    def __init__(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit_info:
            run_command_line(Service(PACKAGE), arguments)
        self.code = exit_info.value.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command of the service in this process."""
    return lambda *arguments: Result(list(arguments), capsys)
