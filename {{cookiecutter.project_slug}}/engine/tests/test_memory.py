"""A request that the process has no memory for gets 503; the next one is served."""

import json
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from fastapi.testclient import TestClient
from serving_engine.memory import load_json, reserve
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.predictions import Outputs, PredictionFormatter
from serving_engine.schema.request_parser import Values
from serving_engine.schema.signature import Signature

from .example_service.app import create_app
from .example_service.settings import Settings
from .little_memory import LittleMemory
from .models import example_row, with_predict
from .service import Service, samples

JSON = {"Content-Type": "application/json"}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set with prlimit")
def test_what_cannot_be_allocated_gets_503_and_the_next_request_is_served(model_dir: Path) -> None:
    rows = 40_000
    body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * rows}).encode()
    with LittleMemory(model_dir, max_rows=rows) as service:
        service.check("/predict", body, JSON)


def test_refused_requests_are_counted_by_their_reason(
    settings: Settings, loaded: LoadedModel, manifest: Manifest
) -> None:
    failing = False

    def predict(rows: Values) -> Outputs:
        if failing:
            np.empty(2**50)
        return loaded.predict(rows)

    with TestClient(create_app(settings, with_predict(loaded, predict))) as client:
        failing = True
        response = client.post("/predict", json={"instances": [example_row(manifest)]})
        assert response.status_code == 503
        assert response.json()["type"] == "urn:problem-type:serving:out-of-memory"
        assert int(response.headers["retry-after"]) >= 1
        metrics = samples(client.get("/metrics").text)
        assert metrics["serving_refused_total", "out-of-memory"] == 1
        failing = False
        assert client.post("/predict", json={"instances": [example_row(manifest)]}).is_success


@pytest.mark.parametrize("reserving", ["memory", "schema.request_parser", "inference.model"])
def test_memory_is_reserved_for_every_step_of_a_request(
    client: TestClient, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, reserving: str
) -> None:
    def fail(_size: int) -> None:
        raise MemoryError

    monkeypatch.setattr(f"serving_engine.{reserving}.reserve", fail)
    row = example_row(manifest)
    response = client.post("/predict", json={"instances": [row]})
    assert response.status_code == 503
    assert samples(client.get("/metrics").text)["serving_refused_total", "out-of-memory"] == 1


FULL_PARSER = """
from serving_engine.http.connection import Connection

on_body = Connection.on_body

def on_full_body(self, body):
    if body == b"full":
        raise MemoryError
    on_body(self, body)

Connection.on_body = on_full_body
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the process is ended by a signal")
def test_a_connection_that_cannot_keep_what_arrives_gets_503(model_dir: Path) -> None:
    with Service(model_dir, patches=FULL_PARSER) as service:
        response = service.request("POST", "/predict", content=b"full", headers=JSON)
        assert response.status_code == 503
        assert "not enough memory" in response.json()["detail"]
        assert service.predict([[5.1, 3.5, 1.4, 0.2]]).status_code == 200
        assert service.scrape()["serving_refused_total", "out-of-memory"] == 1


def test_more_than_there_is_cannot_be_reserved() -> None:
    reserve(0)
    reserve(2**24)
    with pytest.raises(MemoryError):
        reserve(2**60)


def test_json_is_decoded_within_the_memory_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[int] = []
    monkeypatch.setattr("serving_engine.memory.reserve", reserved.append)
    assert load_json(b"[1]") == [1]
    assert reserved == [64 * 3]


def test_predictions_take_no_more_json_than_is_reserved_for_them() -> None:
    """The longest numbers, and names of which every character is escaped."""
    names = ["\x01" * 50, "b"]
    inputs = [{"name": "a"}]
    number = -1.2345678901234567e-300
    cases = [
        (
            {"task": "classification", "classes": names, "probabilities": True},
            Outputs(np.array([0]), np.array([[number, number]])),
        ),
        (
            {"task": "multilabel", "classes": names, "probabilities": True},
            Outputs(np.array([[True, True]]), np.array([[number, number]])),
        ),
        ({"task": "regression", "outputs": ["a", "b"]}, Outputs(np.array([[number, number]]))),
        ({"task": "regression"}, Outputs(np.array([number]))),
        (
            {"task": "multi-output-classification", "outputs": ["a"], "output_classes": [names]},
            Outputs(np.array([[0]])),
        ),
        ({"task": "outlier-detection"}, Outputs(np.array([True]), scores=np.array([number]))),
    ]
    for task, outputs in cases:
        signature = Signature.model_validate({"layout": "array", "inputs": inputs, **task})
        formatter = PredictionFormatter(signature)
        assert 4 * len(orjson.dumps(formatter(outputs))) <= formatter.bytes_per_row
