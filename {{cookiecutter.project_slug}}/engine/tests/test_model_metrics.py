"""Counts of what goes into a model and what comes out, by label and by column."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_engine.inference.model_metrics import ModelMetrics
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.signature import Column, Signature
from serving_engine.telemetry.exposition import Counts

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import samples

MODEL_METRICS = ("serving_predictions", "serving_prediction_score", "serving_out_of_range")


def scrape(client: TestClient) -> dict[tuple[str, ...], float]:
    return samples(client.get("/metrics").text)


def count(signature: Signature, rows: Any, outputs: Outputs) -> dict[str, float]:
    """The counts after one call, by metric and label; zeros and scores are left out."""
    counts: Counts = {}
    metrics = ModelMetrics(signature, counts)
    metrics.observe(rows, outputs)
    metrics.flush()
    plain = {key.partition("serving_")[2]: numbers[0] for key, numbers in counts.items()}
    return {key: n for key, n in plain.items() if n and not key.startswith("prediction_score")}


def test_predictions_are_counted_by_label_and_score_and_the_warm_up_is_not(
    client: TestClient, manifest: Manifest
) -> None:
    before = scrape(client)
    classes = [str(label) for label in manifest.signature.classes or ()]
    assert [before["serving_predictions_total", label] for label in classes] == [0] * len(classes)
    assert before["serving_predict_seconds_count",] == 0
    row = example_row(manifest)
    far = [1000.0] * len(row)
    answers = client.post("/predict", json={"instances": [row, row, far]}).json()["predictions"]
    metrics = scrape(client)
    for label in classes:
        expected = [answer["label"] for answer in answers].count(label)
        assert metrics["serving_predictions_total", label] == expected
    scores = [answer["probabilities"][answer["label"]] for answer in answers]
    assert metrics["serving_prediction_score_sum",] == pytest.approx(sum(scores))
    assert metrics["serving_prediction_score_bucket", "1.0"] == 3
    for name in manifest.signature.columns:
        assert metrics["serving_out_of_range_total", name] == 1


def test_requests_of_every_size_are_counted_once(client: TestClient, manifest: Manifest) -> None:
    row = example_row(manifest)
    for number in (1, 700, 2, 300):
        client.post("/predict", json={"instances": [row] * number})
    metrics = scrape(client)
    assert (
        sum(n for (name, *_), n in metrics.items() if name == "serving_predictions_total") == 1003
    )
    assert metrics["serving_prediction_score_count",] == 1003


def test_a_setting_switches_them_off(settings: Settings, loaded: LoadedModel) -> None:
    off = settings.model_copy(update={"model_metrics": False})
    with TestClient(create_app(off, loaded)) as client:
        client.post("/predict", json={"instances": [example_row(loaded.manifest)]})
        assert not [key for key in scrape(client) if key[0].startswith(MODEL_METRICS)]


def test_a_failure_to_count_is_logged_once_and_fails_nothing(
    manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    counts: Counts = {}
    metrics = ModelMetrics(manifest.signature, counts)
    for _ in range(3):
        metrics.observe([example_row(manifest)], Outputs(np.array([7]), np.ones((1, 3))))
        metrics.flush()
    assert caplog.text.count("counting predictions failed") == 1


FRAME = Signature(
    layout="frame",
    inputs=[
        Column(name="age", dtype="int64", nullable=True, minimum=18, maximum=99),
        Column(name="city", dtype="string", nullable=True, categories=["Bern", "Basel"]),
        Column(name="paid", dtype="bool"),
    ],
    task="outlier-detection",
)


def test_nulls_and_unusual_values_of_mixed_columns_are_counted() -> None:
    rows = [[17, "Bern", True], [None, "Oslo", False], [100, None, True], [40, "Basel", True]]
    outputs = Outputs(np.array([True, False, False, False]), scores=np.zeros(4))
    assert count(FRAME, rows, outputs) == {
        "predictions\noutlier": 1,
        "predictions\ninlier": 3,
        "null_values\nage": 1,
        "null_values\ncity": 1,
        "out_of_range\nage": 2,
        "out_of_range\ncity": 1,
    }


def test_nulls_of_an_array_are_no_unusual_values() -> None:
    columns = [
        Column(name="x", nullable=True, minimum=0, maximum=1),
        Column(name="kind", nullable=True, categories=[1.0, 2.0]),
    ]
    signature = Signature(layout="array", inputs=columns, task="regression")
    nan = np.nan
    for rows in ([[0.5, 1.0], [None, 3.0], [2.0, None]], np.array([[0.5, 1], [nan, 3], [2, nan]])):
        assert count(signature, rows, Outputs(np.zeros(3))) == {
            "null_values\nx": 1,
            "null_values\nkind": 1,
            "out_of_range\nx": 1,
            "out_of_range\nkind": 1,
        }


def test_texts_are_counted_at_once_and_not_kept() -> None:
    signature = Signature(
        layout="text",
        inputs=[Column(name="text", dtype="string", nullable=True)],
        task="multilabel",
        classes=["a", "b\n2"],
        probabilities=True,
    )
    counts: Counts = {}
    metrics = ModelMetrics(signature, counts)
    values = np.array([[True, True], [False, True]])
    metrics.observe([["x"], [None]], Outputs(values, np.array([[0.9, 0.6], [0.1, 0.55]])))
    assert counts["serving_predictions\nb\\n2"] == [2], "a line end would break the key"
    assert counts["serving_null_values\ntext"] == [1]
    *buckets, total = counts["serving_prediction_score"]
    assert [number for number, count in enumerate(buckets) for _ in range(int(count))] == [5, 5, 8]
    assert total == pytest.approx(0.9 + 0.6 + 0.55)


def test_labels_are_bounded() -> None:
    columns = [Column(name=f"c{n}", minimum=0, maximum=1, nullable=True) for n in range(150)]
    classes = [f"k{n}" for n in range(300)]
    signature = Signature(layout="array", inputs=columns, task="classification", classes=classes)
    rows = np.full((4, 150), 7.0)
    found = count(signature, rows, Outputs(np.array([0, 99, 100, 299])))
    assert found["predictions\nother"] == 2
    assert found["out_of_range\nc99"] == 4
    assert found["out_of_range\nother"] == 200
    assert len(found) == 3 + 101


def test_clusters_and_several_outputs_are_counted() -> None:
    one = [Column(name="x")]
    clusters = Signature(layout="array", inputs=one, task="clustering")
    outputs = Outputs(np.array([3, -1, 3, 2000]))
    assert count(clusters, np.zeros((4, 1)), outputs) == {
        "predictions\n3": 2,
        "predictions\nother": 2,
    }
    several = Signature(
        layout="array",
        inputs=one,
        task="multi-output-classification",
        outputs=["color", "size"],
        output_classes=[["red", "blue"], [1, 2, 3]],
    )
    outputs = Outputs(np.array([[1, 2], [1, 0]]))
    assert count(several, np.zeros((2, 1)), outputs) == {
        "predictions\ncolor=blue": 2,
        "predictions\nsize=1": 1,
        "predictions\nsize=3": 1,
    }
