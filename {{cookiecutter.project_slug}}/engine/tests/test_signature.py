"""Signatures: contradictions are invalid, and every task has its predictions."""

from typing import Any

import numpy as np
import pytest
from serving_engine.schema.predictions import Outputs, PredictionFormatter, predictions_agree
from serving_engine.schema.signature import Column, Signature

A = Column(name="a")
TEXT = Column(name="t", dtype="string")


def signature(**fields: Any) -> Signature:
    return Signature(**{"layout": "array", "inputs": [A], "task": "regression"} | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": [TEXT]}, "floats or booleans only"),
        ({"layout": "text"}, "one column, of strings"),
        ({"layout": "text", "inputs": [TEXT, Column(name="u", dtype="string")]}, "one column"),
        ({"classes": [1]}, "need classes"),
        ({"task": "classification"}, "need classes"),
        ({"task": "multilabel"}, "need classes"),
        ({"task": "clustering", "probabilities": True}, "probabilities need"),
        ({"task": "clustering", "outputs": ["a", "b"]}, "outputs need"),
        ({"outputs": ["a"]}, "outputs need"),
        ({"task": "multi-output-classification"}, "needs outputs"),
        ({"task": "multi-output-classification", "outputs": ["a"]}, "needs output_classes"),
        (
            {"task": "multi-output-classification", "outputs": ["a"], "output_classes": []},
            "one list per output",
        ),
        ({"output_classes": [[1]]}, "needs output_classes"),
        (
            {
                "task": "multi-output-classification",
                "outputs": ["a"],
                "output_classes": [["1", 1]],
            },
            "two classes",
        ),
    ],
)
def test_contradictions_are_invalid(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        signature(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "string", "minimum": 1.0},
        {"dtype": "bool", "maximum": 1.0},
        {"dtype": "bool", "categories": ["true"]},
        {"dtype": "string", "categories": [1.0]},
        {"dtype": "int64", "categories": ["1"]},
        {"categories": []},
        {"dtype": "string", "categorical": True},
        {"categories": [1.0], "categorical": True},
        {"dtype": "object"},
    ],
)
def test_fields_of_a_column_must_fit_its_type(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"categories|minimum|dtype"):
        Column(name="a", **fields)


@pytest.mark.parametrize(
    ("fields", "outputs", "predictions"),
    [
        ({}, Outputs(np.array([1.0, 2.0])), [1.0, 2.0]),
        ({"outputs": ["x", "y"]}, Outputs(np.array([[1.0, 2.0]])), [[1.0, 2.0]]),
        (
            {"task": "multilabel", "classes": ["x", 1], "probabilities": True},
            Outputs(np.array([[True, False], [True, True]]), np.array([[0.75, 0.5], [1.0, 0.0]])),
            [
                {"labels": ["x"], "probabilities": {"x": 0.75, "1": 0.5}},
                {"labels": ["x", 1], "probabilities": {"x": 1.0, "1": 0.0}},
            ],
        ),
        (
            {"task": "multilabel", "classes": ["x", 1]},
            Outputs(np.array([[False, False]])),
            [{"labels": []}],
        ),
        (
            {
                "task": "multi-output-classification",
                "outputs": ["size", "color"],
                "output_classes": [[1, 2], ["red", "blue"]],
            },
            Outputs(np.array([[1, 0], [0, 1]])),
            [{"labels": {"size": 2, "color": "red"}}, {"labels": {"size": 1, "color": "blue"}}],
        ),
        ({"task": "clustering"}, Outputs(np.array([3, 0])), [{"cluster": 3}, {"cluster": 0}]),
        (
            {"task": "outlier-detection"},
            Outputs(np.array([True, False]), scores=np.array([-0.5, 0.25])),
            [{"outlier": True, "score": -0.5}, {"outlier": False, "score": 0.25}],
        ),
    ],
)
def test_every_task_has_its_own_predictions(
    fields: dict[str, Any], outputs: Outputs, predictions: list[Any]
) -> None:
    formatter = PredictionFormatter(signature(**fields))
    assert formatter(outputs) == predictions
    parts = [outputs.part(number, number + 1) for number in range(len(outputs))]
    assert [prediction for part in parts for prediction in formatter(part)] == predictions
    assert outputs.finite


def test_a_score_that_is_not_finite_is_detected() -> None:
    assert not Outputs(np.array([True]), scores=np.array([np.nan])).finite
    assert not Outputs(np.array([[True]]), np.array([[np.inf]])).finite


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, 1.0, True),
        (1.0, 1, True),
        (1, 1.5, False),
        (1, 2, False),
        (1, True, False),
        (1.0, True, False),
        ("1", 1, False),
        (None, 0.0, False),
        ({"p": {"a": 1, "b": 0}}, {"p": {"a": 1.0, "b": 0.0}}, True),
        ([1, 2.0], [1.0, 2], True),
    ],
)
def test_integers_agree_with_equal_floats_and_not_with_booleans(
    expected: Any, actual: Any, same: bool
) -> None:
    assert predictions_agree(expected, actual, 1e-6, 1e-9) == same
