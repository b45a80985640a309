"""What your callers rely on. Change and extend these with your service."""

import random

import jsonschema_rs  # comes with schemathesis
from fastapi.testclient import TestClient

from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.schema.answers import agree
from {{ cookiecutter.__package_name }}.schema.violations import pointer


def test_golden_examples_get_their_recorded_predictions(
    client: TestClient, manifest: Manifest
) -> None:
    instances = [example.input for example in manifest.examples]
    response = client.post("/predict", json={"instances": instances})
    assert response.status_code == 200, response.text
    predictions = response.json()["predictions"]
    assert len(predictions) == len(instances)
    for example, prediction in zip(manifest.examples, predictions, strict=True):
        assert agree(
            example.output,
            prediction,
            manifest.tolerance.relative,
            manifest.tolerance.absolute,
        )


def test_an_answer_names_the_model_that_made_it(client: TestClient, manifest: Manifest) -> None:
    response = client.post("/predict", json={"instances": [manifest.examples[0].input]})
    assert response.json()["model"] == {"name": manifest.name, "version": manifest.version}


def test_the_order_of_an_objects_columns_does_not_matter(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    shuffled = dict(random.Random(0).sample(sorted(row.items()), len(row)))
    answers = [
        client.post("/predict", json={"instances": [instance]}).json()
        for instance in (row, shuffled, dict(reversed(row.items())))
    ]
    assert answers[0] == answers[1] == answers[2]


def test_an_array_means_the_columns_in_signature_order(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    in_order = [row[name] for name in manifest.signature.columns]
    by_name = client.post("/predict", json={"instances": [row]})
    by_place = client.post("/predict", json={"instances": [in_order]})
    assert by_place.status_code == 200, by_place.text
    assert by_place.json() == by_name.json()


def test_what_does_not_fit_a_column_is_refused_by_its_name(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    for column in manifest.signature.inputs[:20]:
        missing = {name: cell for name, cell in row.items() if name != column.name}
        for instance in (missing, row | {column.name: [1]}):
            response = client.post("/predict", json={"instances": [instance]})
            assert response.status_code == 422
            (error,) = response.json()["errors"]
            assert error["pointer"] == pointer(("instances", 0, column.name))


def test_a_column_may_be_null_if_its_signature_says_so(
    client: TestClient, manifest: Manifest
) -> None:
    row = manifest.examples[0].input
    for column in manifest.signature.inputs[:20]:
        response = client.post("/predict", json={"instances": [row | {column.name: None}]})
        assert response.status_code == (200 if column.nullable else 422), response.text


def test_the_openapi_document_describes_the_model(client: TestClient, manifest: Manifest) -> None:
    document = client.get("/openapi.json").json()
    schemas = {
        name: jsonschema_rs.Draft202012Validator(document["components"]["schemas"][name])
        for name in ("Instances", "Predictions")
    }
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        schemas["Instances"].validate(example["value"])
        answer = client.post("/predict", json=example["value"]).json()
        schemas["Predictions"].validate(answer)
    row = dict(manifest.examples[0].input)
    row.popitem()
    assert not schemas["Instances"].is_valid({"instances": [row]})


def test_the_service_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
