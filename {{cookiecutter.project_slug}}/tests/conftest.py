"""What every test may ask for.

The tests take what they send and expect from the manifest in `model/`, whatever model that is of.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine import LoadedModel, Manifest, load_model, read_manifest

from {{ cookiecutter.__package_name }}.app import create_app
from {{ cookiecutter.__package_name }}.settings import Settings

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """The defaults of `settings.py`, whatever is set where the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("SERVING_", "AIP_")) or name in {"PORT", "WEB_CONCURRENCY"}:
                patch.delenv(name)
        defaults = Settings()
        yield defaults.model_copy(update={"model_dir": PROJECT / defaults.model_dir})


@pytest.fixture(scope="session")
def manifest(settings: Settings) -> Manifest:
    """What is recorded about the model."""
    if not (settings.model_dir / "manifest.json").exists():
        fetch = "uv run {{ cookiecutter.project_slug }} model fetch URL"
        pytest.skip(f"no model in {settings.model_dir}: `{fetch}` fetches one")
    return read_manifest(settings.model_dir)


@pytest.fixture(scope="session")
def loaded(settings: Settings, manifest: Manifest) -> LoadedModel:
    return load_model(settings)


@pytest.fixture
def app(settings: Settings, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    # Vertex AI names its routes itself; there are none where the service does not speak with it.
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/vertex/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex/predict")
    return create_app(settings, loaded)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the running application: `with` enters the lifespan."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
def bodies(app: FastAPI, client: TestClient, manifest: Manifest) -> dict[str, Any]:
    """For each route that predicts, by path: a body that asks for the first golden example."""
    row = manifest.examples[0].input
    routes = app.openapi()["paths"]
    bodies: dict[str, Any] = {"/predict": {"instances": [row]}}
    if "/invocations" in routes:
        bodies["/invocations"] = {"dataframe_records": [row]}
    if "/vertex/predict" in routes:
        bodies["/vertex/predict"] = {"instances": [row]}
    if "/v2/models/{model}/infer" in routes:
        model = f"/v2/models/{quote(manifest.name)}"
        tensors = client.get(model).json()["inputs"]
        for tensor in tensors:
            tensor["shape"][0] = 1
            matrix = len(tensor["shape"]) > 1  # of all columns; else a tensor is one column
            tensor["data"] = manifest.example_rows[0] if matrix else [row[tensor["name"]]]
        bodies[f"{model}/infer"] = {"inputs": tensors}
    return bodies
