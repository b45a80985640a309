"""What your callers rely on. Change and extend these with your service."""

import random

from fastapi.testclient import TestClient

from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.schema.answers import agree


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


def test_a_missing_column_is_refused_by_name(client: TestClient, manifest: Manifest) -> None:
    row = dict(manifest.examples[0].input)
    name, _ = row.popitem()
    response = client.post("/predict", json={"instances": [row]})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/instances/0/{name}"]


def test_the_service_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
