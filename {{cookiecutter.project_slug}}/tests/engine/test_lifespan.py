"""One model per process: loaded by the lifespan, owned by the application, injected by type."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from {{ cookiecutter.__package_name }} import app as app_module
from {{ cookiecutter.__package_name }}.app import create_app
from {{ cookiecutter.__package_name }}.artifact import load
from {{ cookiecutter.__package_name }}.artifact.load import LoadedModel
from {{ cookiecutter.__package_name }}.dependencies import ModelDep, RowsDep, get_model
from {{ cookiecutter.__package_name }}.errors import ModelError
from {{ cookiecutter.__package_name }}.schema.answers import Predictions
from {{ cookiecutter.__package_name }}.schema.requests import Rows
from {{ cookiecutter.__package_name }}.serving.model import Model
from {{ cookiecutter.__package_name }}.settings import Settings

from .models import package_iris

T = TypeVar("T")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every read of an artifact in this process, wherever it is called from."""
    seen: list[Path] = []
    read = load._read_artifact

    def counted(path: Path, *rest: object) -> bytes:
        seen.append(path)
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "_read_artifact", counted)
    return seen


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


def test_a_model_that_is_given_is_not_loaded_again(
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
    other = load.load_model(package_iris(tmp_path / "m", name="other"), max_bytes=2**20)

    with TestClient(app) as client:
        replacement = Model(other, settings, app.state.metrics)
        app.dependency_overrides[get_model] = lambda: replacement
        row = other.manifest.examples[0].input
        answer = client.post("/predict", json={"instances": [row]})
        assert answer.json()["model"]["name"] == "other"
        assert client.get("/model").json()["name"] == "other"
        app.dependency_overrides.clear()
        assert client.get("/model").json()["name"] != "other"
        replacement.close()


def test_a_route_of_ones_own_gets_rows_and_the_engine(app: FastAPI) -> None:
    @app.post("/first")
    async def first(rows: RowsDep, model: ModelDep) -> dict[str, object]:
        predictions = await model.predict(rows)
        return {"first": predictions.predictions[0], "rows": len(rows)}

    with TestClient(app) as client:
        row = app.state.model.manifest.examples[0].input
        answer = client.post("/first", json={"instances": [row, row]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["rows"] == 2
        assert client.post("/first", json={"instances": []}).status_code == 422


def test_the_handler_asks_the_model_that_was_injected(app: FastAPI) -> None:
    class Recorder:
        def __init__(self, real: Model) -> None:
            self.parser = real.parser
            self.asked: list[Rows] = []

        async def predict(self, rows: Rows) -> Predictions:
            self.asked.append(rows)
            return Predictions([1.0] * len(rows), {"name": "fake", "version": "0"})

    with TestClient(app) as client, override_model(app, Recorder(app.state.model)) as recorder:
        row = app.state.model.manifest.examples[0].input
        answer = client.post("/predict", json={"instances": [row]})
        assert answer.json() == {
            "predictions": [1.0],
            "model": {"name": "fake", "version": "0"},
        }
        assert len(recorder.asked) == 1


@contextmanager
def override_model(app: FastAPI, model: T) -> Iterator[T]:
    app.dependency_overrides[get_model] = lambda: model
    yield model
    app.dependency_overrides.clear()


def test_importing_the_application_loads_nothing() -> None:
    assert not hasattr(app_module, "app")
