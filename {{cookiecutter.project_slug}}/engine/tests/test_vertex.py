"""Vertex AI: environment variables name the routes and the port."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import UsageError
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.load import LoadedModel
from serving_engine.settings import load_settings

from .example_service.app import create_app
from .example_service.settings import Settings

HEALTH = "/v1/endpoints/12/deployedModels/34"
PREDICT = f"{HEALTH}:predict"


def error(response: Any, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}


def test_the_routes_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, loaded: LoadedModel, manifest: Manifest
) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", HEALTH)
    monkeypatch.setenv("AIP_PREDICT_ROUTE", PREDICT)
    instances = [example.input for example in manifest.examples]
    with TestClient(create_app(settings, loaded)) as client:
        assert client.get(HEALTH).status_code == 200
        expected = client.post("/predict", json={"instances": instances}).json()["predictions"]
        for more in ({}, {"parameters": {}}, {"parameters": None}):
            response = client.post(PREDICT, json={"instances": instances, **more})
            assert response.json() == {"predictions": expected}
        error(client.post(PREDICT, json={"instances": instances, "parameters": {"a": 1}}), 400)
        error(client.post(PREDICT, json={"instances": []}), 400)
        error(client.post(PREDICT, content=b"{}"), 415)
        error(client.get(PREDICT), 405)
        paths = client.get("/openapi.json").json()["paths"]
        assert {HEALTH, PREDICT} <= paths.keys()
        client.app.state.readiness.drain()  # type: ignore[attr-defined]
        error(client.get(HEALTH), 503)


def test_without_the_variables_there_are_no_routes(client: TestClient) -> None:
    assert not [path for path in client.get("/openapi.json").json()["paths"] if "v1" in path]
    assert client.get(HEALTH).status_code == 404


def test_the_variables_may_name_the_services_own_routes(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, loaded: LoadedModel, manifest: Manifest
) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/readyz")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    with TestClient(create_app(settings, loaded)) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        response = client.post("/predict", json={"instances": [manifest.examples[0].input]})
        assert response.json()["model"]["name"] == manifest.name
        assert client.get("/predict").json()["title"] == "Method Not Allowed"


@pytest.mark.parametrize("path", ["v1/predict", "/{instance}", "/a b", "https://example.org/"])
def test_a_variable_that_is_not_a_path_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, loaded: LoadedModel, path: str
) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", path)
    with pytest.raises(UsageError, match="AIP_PREDICT_ROUTE"):
        create_app(settings, loaded)


def test_the_port_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("AIP_HTTP_PORT", "7080")
    assert load_settings(Settings).port == 7080
    monkeypatch.setenv("SERVING_PORT", "6080")
    assert load_settings(Settings).port == 6080
