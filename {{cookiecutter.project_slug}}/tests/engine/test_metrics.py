"""What /metrics says, read by Prometheus's own parser."""

from fastapi.testclient import TestClient

from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest

from .models import example_row
from .service import samples


def scrape(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample: its name, its label values by name of the label, and its value."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(response.text)


def test_requests_are_counted_by_route_and_status_class(
    client: TestClient, manifest: Manifest
) -> None:
    for _ in range(3):
        client.post("/predict", json={"instances": [example_row(manifest)]})
    client.post("/predict", json={})
    found = scrape(client)
    assert found["serving_requests_total", "native", "/predict", "2xx"] == 3
    assert found["serving_requests_total", "native", "/predict", "4xx"] == 1
    assert found["serving_request_seconds_count", "native", "/predict", "2xx"] == 3
    assert found["serving_request_seconds_bucket", "+Inf", "native", "/predict", "2xx"] == 3


def test_unknown_paths_do_not_make_the_metrics_grow(client: TestClient) -> None:
    client.get("/nope-0")
    before = len(scrape(client))
    for number in range(1, 50):
        client.get(f"/nope-{number}")
    found = scrape(client)
    assert len(found) <= before + 20  # /metrics itself has been asked by now
    assert found["serving_requests_total", "native", "unmatched", "4xx"] == 50


def test_the_pages_of_the_documentation_have_labels_of_their_own(client: TestClient) -> None:
    client.get("/docs")
    client.get("/openapi.json")
    client.post("/docs")
    found = scrape(client)
    assert found["serving_requests_total", "native", "/openapi.json", "2xx"] == 1
    assert found["serving_requests_total", "native", "/docs", "2xx"] == 1
    assert found["serving_requests_total", "native", "/docs", "4xx"] == 1


def test_batches_and_the_model_are_counted(client: TestClient, manifest: Manifest) -> None:
    before = scrape(client)
    row = example_row(manifest)
    client.post("/predict", json={"instances": [row] * 5})
    found = scrape(client)
    assert found["serving_batch_rows_count",] == before["serving_batch_rows_count",] + 1
    assert found["serving_batch_rows_sum",] == before["serving_batch_rows_sum",] + 5
    assert found["serving_predict_seconds_sum",] > 0
    assert found["serving_queue_seconds_count",] == before["serving_queue_seconds_count",] + 1
    assert found["serving_model_info", manifest.name, manifest.version] == 1


def test_gauges_come_back_to_rest(client: TestClient, manifest: Manifest) -> None:
    client.post("/predict", json={"instances": [example_row(manifest)]})
    found = scrape(client)
    assert found["serving_in_flight",] == 1  # the scrape itself
    assert found["serving_queued_rows",] == 0
