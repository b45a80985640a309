"""Rows and predictions of every layout and task, as they are recorded and compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_engine.inference.observers.agreement import Comparison
from serving_engine.inference.observers.record_files import ParquetWriter, RecordDirectory
from serving_engine.model_files.observed import prediction_values
from serving_engine.schema.predictions import Outputs, PredictionFormatter
from serving_engine.schema.signature import Signature

INPUTS = [
    {"name": "number", "nullable": True},
    {"name": "count", "dtype": "int64"},
    {"name": "text", "dtype": "string"},
    {"name": "flag", "dtype": "bool"},
    {"name": "day", "dtype": "datetime", "unit": "s"},
]
ROW = {"number": None, "count": 3, "text": "é", "flag": True, "day": "2026-01-31"}

TASKS: dict[str, tuple[dict[str, Any], Outputs, dict[str, Any]]] = {
    "labels that are numbers": (
        {"task": "classification", "classes": [7, 8], "probabilities": True},
        Outputs(np.array([1]), np.array([[0.25, 0.75]])),
        {"label": "8", "probability": 0.75},
    ),
    "several labels of a row": (
        {"task": "multilabel", "classes": ["a", "b"]},
        Outputs(np.array([[True, False]])),
        {"labels.a": "true", "labels.b": "false"},
    ),
    "several outputs with labels": (
        {
            "task": "multi-output-classification",
            "outputs": ["x", "y"],
            "output_classes": [["a", "b"], [True, False]],
        },
        Outputs(np.array([[1, 0]])),
        {"labels.x": "b", "labels.y": "true"},
    ),
    "a number": ({"task": "regression"}, Outputs(np.array([1.5])), {"value": 1.5}),
    "several numbers": (
        {"task": "regression", "outputs": ["x", "y"]},
        Outputs(np.array([[1.5, 2.5]])),
        {"values.x": 1.5, "values.y": 2.5},
    ),
    "a cluster": ({"task": "clustering"}, Outputs(np.array([2])), {"cluster": "2"}),
    "an outlier": (
        {"task": "outlier-detection"},
        Outputs(np.array([True]), None, np.array([-0.5])),
        {"outlier": "true", "score": -0.5},
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_prediction_of_every_task_is_recorded_and_compared(name: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `package` is not installed")
    task, outputs, values = TASKS[name]
    signature = Signature.model_validate({"layout": "frame", "inputs": INPUTS, **task})
    (prediction,) = PredictionFormatter(signature)(outputs)
    assert prediction_values(prediction, signature) == values
    agreement = Comparison(signature, signature, 0)(outputs, outputs)
    assert agreement.agreed.tolist() == [True]
    assert not agreement.differences.any()
    row = {
        "time": "2026-01-31T12:00:00.000+00:00",
        "request_id": "a",
        "row": 0,
        "model": "test",
        "version": "1",
        "input": ROW,
        "output": prediction,
        "shadow": {"version": "2", "output": prediction, "milliseconds": 1.0},
    }
    writer = ParquetWriter(RecordDirectory(tmp_path, 3), 1024, signature)
    writer.write([row])
    writer.close()
    (file,) = tmp_path.iterdir()
    assert parquet.read_table(file).to_pylist() == [row]
