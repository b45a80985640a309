"""Metrics of a service of one process, parsed by Prometheus's own parser."""

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from serving_engine.model_files.manifest import Manifest

from .example_service.app import router
from .models import example_row
from .service import samples


def scrape(client: TestClient) -> dict[tuple[str, ...], float]:
    """The value of every sample, by its name and its label values."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(response.text)


def test_requests_are_counted_by_route_and_status(client: TestClient, manifest: Manifest) -> None:
    for _ in range(3):
        client.post("/predict", json={"instances": [example_row(manifest)]})
    client.post("/predict", json={})
    metrics = scrape(client)
    assert metrics["serving_requests_total", "native", "/predict", "200"] == 3
    assert metrics["serving_requests_total", "native", "/predict", "422"] == 1
    assert metrics["serving_request_seconds_count", "native", "/predict", "200"] == 3
    assert metrics["serving_request_seconds_bucket", "+Inf", "native", "/predict", "200"] == 3


def test_unknown_paths_do_not_make_the_metrics_grow(client: TestClient) -> None:
    client.get("/nope-0")
    before = len(scrape(client))
    for number in range(1, 50):
        client.get(f"/nope-{number}")
    metrics = scrape(client)
    assert len(metrics) <= before + 20  # those of /metrics itself
    assert metrics["serving_requests_total", "native", "unmatched", "404"] == 50


def test_a_route_is_counted_with_the_prefixes_of_its_routers(
    app: FastAPI, manifest: Manifest
) -> None:
    inner = APIRouter(prefix="/inner")
    inner.include_router(router)
    app.include_router(inner, prefix="/outer")
    app.include_router(router, prefix="/other")
    body = {"instances": [example_row(manifest)]}
    with TestClient(app) as client:
        for path in ("/outer/inner/predict", "/other/predict", "/predict"):
            assert client.post(path, json=body).status_code == 200
        client.get("/other/predict")
        metrics = scrape(client)
    for route in ("/outer/inner/predict", "/other/predict", "/predict"):
        assert metrics["serving_requests_total", "native", route, "200"] == 1
    assert metrics["serving_requests_total", "native", "/other/predict", "405"] == 1


def test_every_page_of_the_documentation_has_its_own_label(client: TestClient) -> None:
    client.get("/docs")
    client.get("/openapi.json")
    client.post("/docs")
    metrics = scrape(client)
    assert metrics["serving_requests_total", "native", "/openapi.json", "200"] == 1
    assert metrics["serving_requests_total", "native", "/docs", "200"] == 1
    assert metrics["serving_requests_total", "native", "/docs", "405"] == 1


def test_batches_and_the_model_are_counted(client: TestClient, manifest: Manifest) -> None:
    before = scrape(client)
    row = example_row(manifest)
    client.post("/predict", json={"instances": [row] * 5})
    metrics = scrape(client)
    assert metrics["serving_batch_rows_count",] == before["serving_batch_rows_count",] + 1
    assert metrics["serving_batch_rows_sum",] == before["serving_batch_rows_sum",] + 5
    assert metrics["serving_predict_seconds_sum",] > 0
    assert metrics["serving_queue_seconds_count",] == before["serving_queue_seconds_count",] + 1
    assert metrics["serving_model_info", manifest.name, manifest.version] == 1


def test_gauges_fall_again_after_a_request(client: TestClient, manifest: Manifest) -> None:
    client.post("/predict", json={"instances": [example_row(manifest)]})
    metrics = scrape(client)
    assert metrics["serving_in_flight",] == 1  # the scrape itself
    assert metrics["serving_queued_rows",] == 0
