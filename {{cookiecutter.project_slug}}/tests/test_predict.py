"""What your callers rely on. Change and extend these with your service."""

import random
from typing import Any

from fastapi.testclient import TestClient
from serving_engine import LoadedModel, Manifest, predictions_agree

from {{ cookiecutter.__package_name }}.app import create_app
from {{ cookiecutter.__package_name }}.settings import Settings


def predict(client: TestClient, instance: object) -> Any:
    """The prediction for one row."""
    response = client.post("/predict", json={"instances": [instance]})
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["predictions"]
    return prediction


def agree(expected: object, found: object, manifest: Manifest) -> bool:
    tolerance = manifest.tolerance
    return predictions_agree(expected, found, tolerance.relative, tolerance.absolute)


def test_golden_examples_get_their_recorded_predictions(
    client: TestClient, manifest: Manifest
) -> None:
    for example in manifest.examples:
        assert agree(example.output, predict(client, example.input), manifest)
    response = client.post("/predict", json={"instances": [manifest.examples[0].input]})
    assert response.json()["model"] == {"name": manifest.name, "version": manifest.version}


def test_columns_are_matched_by_name_and_an_array_has_them_in_signature_order(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    shuffled = dict(random.Random(0).sample(sorted(row.items()), len(row)))
    in_order = [row[name] for name in manifest.signature.columns]
    assert predict(client, shuffled) == predict(client, in_order) == predict(client, row)


def test_a_value_that_does_not_fit_its_column_is_rejected_with_the_columns_name(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    for column in manifest.signature.inputs[:20]:
        missing = {name: cell for name, cell in row.items() if name != column.name}
        for instance in (row | {column.name: [1]}, missing, row | {column.name: None}):
            response = client.post("/predict", json={"instances": [instance]})
            may_be_null = column.nullable and instance.get(column.name) is None
            assert response.status_code == (200 if may_be_null else 422), response.text
            if may_be_null:
                continue
            (error,) = response.json()["errors"]
            escaped = column.name.replace("~", "~0").replace("/", "~1")  # RFC 6901
            assert error["pointer"] == f"/instances/0/{escaped}"


def test_every_protocol_gives_the_recorded_prediction(
    client: TestClient, manifest: Manifest, bodies: dict[str, Any]
) -> None:
    for path, body in bodies.items():
        response = client.post(path, json=body)
        assert response.status_code == 200, f"{path}: {response.text}"
        if path.startswith("/v2/"):
            described = client.get(path.removesuffix("/infer")).json()["outputs"]
            names = [output["name"] for output in response.json()["outputs"]]
            assert names == [output["name"] for output in described]
        else:
            (prediction,) = response.json()["predictions"]
            assert agree(manifest.examples[0].output, prediction, manifest), path


def test_the_openapi_document_describes_the_model(
    settings: Settings, loaded: LoadedModel, manifest: Manifest
) -> None:
    with TestClient(create_app(settings.model_copy(update={"docs": True}), loaded)) as client:
        document = client.get("/openapi.json").json()
        schema = document["components"]["schemas"]["Instances"]
        by_name = schema["properties"]["instances"]["anyOf"][0]["items"]
        assert by_name["required"] == [c.name for c in manifest.signature.inputs if not c.nullable]
        body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            (instance,) = example["value"]["instances"]
            assert agree(manifest.examples[0].output, predict(client, instance), manifest)
