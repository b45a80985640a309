"""One model per process: loaded by the lifespan, owned by the application, injected by type."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine.errors import ModelError
from serving_engine.inference.model import Model
from serving_engine.model_files import read_artifact
from serving_engine.runtimes import load
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.predictions import Outputs, Predictions
from serving_engine.schema.request_parser import Rows, Values
from serving_engine.web.dependencies import ModelDep, RowsDep, get_model

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import package_iris
from .service import run_script

T = TypeVar("T")

IMPORT = """
import os, sys
os.environ["SERVING_MODEL_DIR"] = sys.argv[1]
opened = []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
import tests.example_service.app
print([path for path in opened if path.startswith(sys.argv[1])])
print({"sklearn", "skops", "scipy"} & set(sys.modules))
"""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The path of every artifact that is read in this process, in order."""
    paths: list[Path] = []
    read = read_artifact.read_artifact

    def recording(path: Path, *rest: object) -> bytes:
        paths.append(path)
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(read_artifact, "read_artifact", recording)
    return paths


def test_the_model_is_loaded_once_at_start_and_never_in_a_request(
    settings: Settings, loads: list[Path]
) -> None:
    app = create_app(settings)
    assert loads == [], "loaded before the lifespan"
    with TestClient(app) as client:
        assert len(loads) == 1
        model = app.state.model
        row = model.manifest.examples[0].input
        for _ in range(3):
            assert client.post("/predict", json={"instances": [row]}).status_code == 200
            assert client.get("/model").status_code == 200
        assert app.state.model is model
    assert len(loads) == 1


def test_a_model_that_is_passed_in_is_not_loaded_again(
    settings: Settings, loaded: LoadedModel, loads: list[Path]
) -> None:
    with TestClient(create_app(settings, loaded)) as client:
        assert client.get("/readyz").status_code == 200
    assert loads == []


def test_a_lifespan_without_a_model_fails(tmp_path: Path) -> None:
    app = create_app(Settings(model_dir=tmp_path))
    with pytest.raises(ModelError, match="model missing"), TestClient(app):
        pass
    assert not hasattr(app.state, "model")


def test_overriding_get_model_replaces_the_model_for_every_route(
    app: FastAPI, settings: Settings, tmp_path: Path
) -> None:
    other = load.load_directory(package_iris(tmp_path / "m", name="other"), max_bytes=2**20)

    with TestClient(app) as client:
        replacement = Model(other, settings, app.state.metrics)
        app.dependency_overrides[get_model] = lambda: replacement
        row = other.manifest.examples[0].input
        response = client.post("/predict", json={"instances": [row]})
        assert response.json()["model"]["name"] == "other"
        assert client.get("/model").json()["name"] == "other"
        app.dependency_overrides.clear()
        assert client.get("/model").json()["name"] != "other"
        replacement.close()


def test_an_owners_route_gets_rows_and_the_model(app: FastAPI) -> None:
    @app.post("/first")
    async def first(rows: RowsDep, model: ModelDep) -> dict[str, object]:
        predictions = await model.predict(rows)
        return {"first": predictions.predictions[0], "rows": len(rows)}

    with TestClient(app) as client:
        row = app.state.model.manifest.examples[0].input
        response = client.post("/first", json={"instances": [row, row]})
        assert response.status_code == 200, response.text
        assert response.json()["rows"] == 2
        assert client.post("/first", json={"instances": []}).status_code == 422


def test_the_handler_calls_the_injected_model(app: FastAPI) -> None:
    class Recorder:
        def __init__(self, model: Model) -> None:
            self.parser = model.parser
            self.calls: list[Rows] = []

        async def predict(self, rows: Rows) -> Predictions:
            self.calls.append(rows)
            return Predictions([1.0] * len(rows), {"name": "fake", "version": "0"})

    with TestClient(app) as client, override_model(app, Recorder(app.state.model)) as recorder:
        row = app.state.model.manifest.examples[0].input
        response = client.post("/predict", json={"instances": [row]})
        assert response.json() == {
            "predictions": [1.0],
            "model": {"name": "fake", "version": "0"},
        }
        assert len(recorder.calls) == 1


@contextmanager
def override_model(app: FastAPI, model: T) -> Iterator[T]:
    app.dependency_overrides[get_model] = lambda: model
    yield model
    app.dependency_overrides.clear()


def test_importing_the_application_reads_no_model_and_imports_no_runtime(model_dir: Path) -> None:
    assert run_script(IMPORT, model_dir) == "[]\nset()\n"


@pytest.mark.parametrize("bounded", [True, False])
def test_only_a_model_that_no_input_makes_slow_is_called_in_the_event_loop(
    settings: Settings, loaded: LoadedModel, bounded: bool
) -> None:
    """Both are quick at start."""
    threads: list[str] = []

    def predict(batch: Values) -> Outputs:
        threads.append(threading.current_thread().name)
        return loaded.predict(batch)

    assert loaded.bounded
    patient = settings.model_copy(update={"inline_seconds": 1.0})
    model = replace(loaded, predict=predict, bounded=bounded)
    with TestClient(create_app(patient, model)) as client:
        instances = [model.manifest.examples[0].input]
        assert client.post("/predict", json={"instances": instances}).status_code == 200
    assert (threads[-1] == "predict-0") != bounded
