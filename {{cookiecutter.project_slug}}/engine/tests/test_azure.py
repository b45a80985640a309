"""Azure Machine Learning: `input_data` at its scoring route."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.model_files.manifest import Manifest

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def expected(client: TestClient, manifest: Manifest) -> list[Any]:
    body = {"instances": manifest.example_rows}
    return list(client.post("/predict", json=body).json()["predictions"])


def test_every_form_of_input_data_gets_the_predictions_of_predict(
    client: TestClient, manifest: Manifest, expected: list[Any]
) -> None:
    rows = manifest.example_rows
    names = manifest.signature.columns
    backwards = [row[::-1] for row in rows]
    for data in (
        {"columns": names, "index": [*range(len(rows))], "data": rows},
        {"columns": names[::-1], "data": backwards},
        {"data": rows},
        rows,
        [example.input for example in manifest.examples],
    ):
        for more in ({}, {"params": {}}, {"params": None}):
            response = client.post("/score", json={"input_data": data, **more})
            assert response.status_code == 200, response.text
            assert response.json() == expected


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"instances": [[1, 2, 3, 4]]}',
        b'{"input_data": [[1, 2, 3, 4]], "more": 1}',
        b'{"input_data": [[1, 2, 3, 4]], "params": {"a": 1}}',
        b'{"input_data": [1, 2, 3, 4]}',
        b'{"input_data": 1}',
        b'{"input_data": []}',
        b'{"input_data": {"columns": ["a"], "index": [0], "data": [[1]]}}',
        b'{"input_data": {"columns": ["a"], "index": [0]}}',
        b'{"input_data": {"index": {}, "data": [[1, 2, 3, 4]]}}',
        b'{"input_data": [[1, 2, NaN, 4]]}',
    ],
)
def test_anything_else_gets_400_in_one_line(client: TestClient, body: bytes) -> None:
    response = client.post("/score", content=body, headers=JSON)
    assert response.status_code == 400, response.text
    assert response.json().keys() == {"error"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[5.1, 3.5, 1.4, 0.2]", "input_data must be a list of rows. /input_data/0 "),
        (b"[[5.1, 3.5, 1.4, true]]", "/input_data/0/3 "),
        (b'{"data": [[5.1, 3.5, 1.4, true]]}', "/input_data/data/0/3 "),
        (b'{"columns": []}', "input_data must have columns and data"),
        (b"[]", '{"input_data": [...]}'),
    ],
)
def test_an_error_names_the_place_in_input_data(
    client: TestClient, data: bytes, message: str
) -> None:
    response = client.post("/score", content=b'{"input_data": %s}' % data, headers=JSON)
    assert message in response.json()["error"]
    assert "instances" not in response.text


def test_its_openapi_document_has_an_example_that_is_served(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/score"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert "input_data" in content["schema"]["properties"]
    (example,) = content["examples"].values()
    response = client.post("/score", content=json.dumps(example["value"]), headers=JSON)
    assert len(response.json()) == 1
