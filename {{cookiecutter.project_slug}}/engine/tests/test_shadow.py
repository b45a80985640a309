"""The shadow model: it sees the same rows, its predictions are compared, and it harms nothing."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import IncompatibleSignature
from serving_engine.inference.observers import observers
from serving_engine.inference.observers.agreement import Comparison
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel, Predict
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Values
from serving_engine.schema.signature import Signature

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import run_script, samples, wait_until

Serve = Callable[..., Any]

TRIAL = """
import logging, os, sys, threading, time
from serving_engine.process.shadow_trial import try_to_load

def hang():
    time.sleep(60)

def start_a_thread():
    threading.Thread(target=hang, daemon=True).start()

def fail():
    raise SystemExit(7)

for load in (hang, lambda: os._exit(1), start_a_thread, fail):
    try:
        try_to_load(load, 0.2)()
    except Exception as error:
        print(type(error).__name__, error)
print(try_to_load(lambda: "loaded", 10)())
"""


def shadow_of(loaded: LoadedModel, predict: Predict | None = None) -> LoadedModel:
    """The same model as version 2, with another `predict`."""
    manifest = loaded.manifest.model_copy(update={"version": "2"})
    return LoadedModel(manifest, predict or loaded.predict, 0.0)


@pytest.fixture
def serve(
    settings: Settings, loaded: LoadedModel, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Serve:
    """Make a client of a service with the shadow model that `load` returns."""

    @contextmanager
    def client(load: Callable[[], LoadedModel], **changes: Any) -> Iterator[TestClient]:
        values = {**settings.model_dump(), "shadow_model_dir": model_dir, **changes}
        monkeypatch.setattr(observers, "load_compatible", lambda *_: load())
        app = create_app(Settings(**values), loaded)
        with TestClient(app) as client:
            wait_until(lambda: "serving_shadow_loads_total{" in client.get("/metrics").text)
            yield client

    return client


def predict(client: TestClient, row: list[float], count: int = 1) -> Any:
    response = client.post("/predict", json={"instances": [row] * count})
    assert response.status_code == 200
    return response.json()


def metric(client: TestClient, *key: str) -> float:
    return samples(client.get("/metrics").text).get(key, 0)


def test_rows_on_which_the_models_agree_and_differ_are_counted(
    serve: Serve, loaded: LoadedModel, manifest: Manifest
) -> None:
    def other_label(rows: Values) -> Outputs:
        outputs = loaded.predict(rows)
        values = outputs.values.copy()
        values[0] = (values[0] + 1) % 3
        assert outputs.probabilities is not None
        return Outputs(values, outputs.probabilities[:, [1, 2, 0]])

    with serve(lambda: shadow_of(loaded, other_label)) as client:
        answer = predict(client, example_row(manifest), 5)
        wait_until(lambda: metric(client, "serving_shadow_seconds_count"))
        assert metric(client, "serving_shadow_rows_total", "agreed") == 4
        assert metric(client, "serving_shadow_rows_total", "differed") == 1
        assert metric(client, "serving_shadow_difference_count") == 5
        assert metric(client, "serving_shadow_difference_bucket", "0.01") == 0
    assert answer["predictions"] == [manifest.examples[0].output] * 5
    assert answer["model"]["version"] == manifest.version


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["Exception", "exit"])
def test_a_shadow_that_fails_is_counted_and_logged_once(
    serve: Serve,
    loaded: LoadedModel,
    manifest: Manifest,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_rows: Values) -> Outputs:
        raise error

    with serve(lambda: shadow_of(loaded, fail)) as client, caplog.at_level(logging.ERROR):
        failed = ("serving_shadow_rows_total", "failed")
        for count in (1, 2):
            predict(client, example_row(manifest))
            wait_until(lambda n=count: metric(client, *failed) == n, 20)
    assert [record.name for record in caplog.records] == ["shadow"]


def test_a_shadow_that_hangs_delays_no_answer_and_drops_what_its_queue_cannot_hold(
    serve: Serve, loaded: LoadedModel, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def hang(rows: Values) -> Outputs:
        assert gate.wait(60)
        return loaded.predict(rows)

    options = {"shadow_queued_rows": 3, "stuck_timeout": 0.05}
    with serve(lambda: shadow_of(loaded, hang), **options) as client:
        dropped = ("serving_shadow_dropped_total", "queue-full")
        wait_until(lambda: predict(client, example_row(manifest)) and caplog.records)
        assert "it hangs in a call" in caplog.text
        before = metric(client, *dropped)
        assert before > 0
        predict(client, example_row(manifest), 4)
        assert metric(client, *dropped) == before + 4
        assert client.get("/readyz").status_code == 200
        gate.set()
        wait_until(lambda: metric(client, "serving_shadow_rows_total", "agreed") == 3)


def test_a_shadow_for_other_rows_is_refused_in_one_line(
    serve: Serve,
    loaded: LoadedModel,
    manifest: Manifest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signature = loaded.manifest.signature
    fewer = signature.model_copy(update={"inputs": signature.inputs[:3]})
    other = loaded.manifest.model_copy(update={"signature": fewer})
    with serve(lambda: replace(loaded, manifest=other)) as client:
        assert metric(client, "serving_shadow_loads_total", "failed") == 1
        predict(client, example_row(manifest))
        assert metric(client, "serving_shadow_dropped_total", "not-loaded") == 1
    (record,) = caplog.records
    assert "'petal_width' would be unknown" in record.getMessage()


def test_the_record_holds_the_answers_of_both(
    serve: Serve, loaded: LoadedModel, manifest: Manifest, tmp_path: Path
) -> None:
    with serve(lambda: shadow_of(loaded), record_dir=tmp_path / "record") as client:
        predict(client, example_row(manifest))
        wait_until(lambda: metric(client, "serving_recorded_rows_total") == 1)
    (file,) = (tmp_path / "record").iterdir()
    row = json.loads(file.read_text(encoding="utf-8"))
    assert row["version"] == manifest.version
    assert row["shadow"].pop("milliseconds") > 0
    assert row["shadow"] == {"version": "2", "output": row["output"]}


@pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux")
def test_what_a_shadow_does_while_it_is_loaded_it_does_in_a_child() -> None:
    hang, crash, thread, ended, loaded = run_script(TRIAL).splitlines()
    assert hang == "ModelError loading took longer than 0.2 s"
    assert crash == "ModelError its process crashed while it was loaded"
    assert thread.startswith("ModelError a library of it has started threads")
    assert ended == "ModelError NotAnException: the model raised SystemExit"
    assert loaded == "loaded"


def classes(*labels: str, probabilities: bool = False) -> Signature:
    return Signature.model_validate(
        {
            "layout": "array",
            "inputs": [{"name": "a"}],
            "task": "classification",
            "classes": list(labels),
            "probabilities": probabilities,
        }
    )


def test_labels_are_compared_by_name_and_probabilities_of_the_same_class() -> None:
    compare = Comparison(
        classes("a", "b", probabilities=True), classes("b", "c", "a", probabilities=True), 0
    )
    ours = Outputs(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]]))
    theirs = Outputs(np.array([2, 1]), np.array([[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]]))
    agreement = compare(ours, theirs)
    assert agreement.agreed.tolist() == [True, False]
    assert agreement.differences.tolist() == [0.0, 1.0]


def test_numbers_agree_within_a_relative_tolerance() -> None:
    signature = Signature.model_validate(
        {"layout": "array", "inputs": [{"name": "a"}], "task": "regression"}
    )
    compare = Comparison(signature, signature, 0.01)
    agreement = compare(
        Outputs(np.array([100.0, 100.0, 0.0])), Outputs(np.array([100.5, 102.0, 0.0]))
    )
    assert agreement.agreed.tolist() == [True, False, True]


def test_a_shadow_with_other_predictions_is_incompatible() -> None:
    with pytest.raises(IncompatibleSignature, match="have another form"):
        Comparison(classes("a"), classes("a", probabilities=True), 0)
