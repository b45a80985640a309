"""What stands before the service: a proxy that adds a prefix, and pages of other origins (CORS)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine.errors import URITooLong, UsageError
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel
from serving_engine.settings import load_settings

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import samples

PREFIX = "/models/iris"
PAGE = "https://app.example.org"
OTHER = "https://example.net"
KEY = "0123456789abcdef"


@pytest.fixture
def prefixed(settings: Settings, loaded: LoadedModel) -> Iterator[TestClient]:
    with TestClient(
        create_app(settings.model_copy(update={"root_path": PREFIX}), loaded)
    ) as client:
        yield client


@pytest.mark.parametrize("before", [PREFIX, ""], ids=["passed on", "removed"])
def test_every_route_is_served_whether_the_proxy_removes_the_prefix_or_not(
    prefixed: TestClient, manifest: Manifest, before: str
) -> None:
    body = {"instances": [example_row(manifest)]}
    assert prefixed.post(f"{before}/predict", json=body).status_code == 200
    for path in ("/livez", "/readyz", "/metrics", "/model", "/docs", "/openapi.json", "/"):
        assert prefixed.get(before + path).status_code == 200, path
    assert prefixed.get(f"{before}/nope").json()["status"] == 404
    assert prefixed.get(f"{before}/predict").status_code == 405


def test_a_path_that_only_begins_like_the_prefix_is_another(prefixed: TestClient) -> None:
    assert prefixed.get(f"{PREFIX}es/livez").status_code == 404


def test_the_description_is_right_behind_a_prefix(prefixed: TestClient, client: TestClient) -> None:
    assert prefixed.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert "servers" not in client.get("/openapi.json").json()


def test_metrics_have_routes_without_the_prefix(prefixed: TestClient) -> None:
    prefixed.get(f"{PREFIX}/livez")
    prefixed.get("/livez")
    prefixed.get(f"{PREFIX}/docs")
    metrics = samples(prefixed.get("/metrics").text)
    assert metrics["serving_requests_total", "native", "/livez", "200"] == 2
    assert metrics["serving_requests_total", "native", "/docs", "200"] == 1


def test_probes_need_no_key_behind_a_prefix(settings: Settings, loaded: LoadedModel) -> None:
    closed = Settings(model_dir=settings.model_dir, root_path=PREFIX, api_keys=KEY)  # type: ignore[arg-type]
    with TestClient(create_app(closed, loaded)) as client:
        assert client.get(f"{PREFIX}/livez").status_code == 200
        assert client.get(f"{PREFIX}/model").status_code == 401


@pytest.fixture
def shared(model_dir: Path, loaded: LoadedModel) -> Iterator[TestClient]:
    """A client of a service that asks for a key, and that pages of one origin may call."""
    settings = Settings(model_dir=model_dir, api_keys=KEY, cors_origins=PAGE)  # type: ignore[arg-type]
    app = create_app(settings, loaded)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    with TestClient(app) as client:
        yield client


def preflight(client: TestClient, origin: str, path: str = "/predict") -> dict[str, str]:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    response = client.options(path, headers=asked)
    assert response.is_success == (origin != OTHER)
    assert "x-request-id" in response.headers
    return dict(response.headers)


def test_a_preflight_needs_no_key_and_names_what_is_allowed(shared: TestClient) -> None:
    headers = preflight(shared, PAGE)
    assert headers["access-control-allow-origin"] == PAGE
    assert "POST" in headers["access-control-allow-methods"]
    assert "x-api-key" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers
    assert "access-control-allow-origin" not in preflight(shared, OTHER)


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/model", KEY, 200),
        ("/model", "", 401),
        ("/nope", KEY, 404),
        ("/predict", KEY, 405),
        ("/broken", KEY, 500),
    ],
)
def test_every_response_may_be_read_by_an_allowed_origin_alone(
    shared: TestClient, path: str, key: str, status: int
) -> None:
    response = shared.get(path, headers={"Origin": PAGE, "X-API-Key": key})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]
    assert "Origin" in response.headers["vary"]
    other = shared.get(path, headers={"Origin": OTHER, "X-API-Key": key})
    assert "access-control-allow-origin" not in other.headers


def test_no_origin_is_allowed_by_default(client: TestClient) -> None:
    response = client.get("/model", headers={"Origin": PAGE})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.options("/predict", headers={"Origin": PAGE}).status_code == 405


def test_every_origin_is_allowed_where_that_is_asked_for(
    settings: Settings, loaded: LoadedModel
) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": ("*",)}), loaded)
    with TestClient(app) as client:
        response = client.get("/model", headers={"Origin": OTHER})
        assert response.headers["access-control-allow-origin"] == "*"


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_CORS_ORIGINS", f"{PAGE}, http://localhost:3000,")
    assert load_settings(Settings).cors_origins == (PAGE, "http://localhost:3000")
    monkeypatch.setenv("SERVING_CORS_ORIGINS", "")
    assert load_settings(Settings).cors_origins == ()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SERVING_CORS_ORIGINS", "app.example.org"),
        ("SERVING_CORS_ORIGINS", f"{PAGE}/"),
        ("SERVING_CORS_ORIGINS", "https://App.example.org"),
        ("SERVING_CORS_ORIGINS", "https://*.example.org"),
        ("SERVING_ROOT_PATH", "models/iris"),
        ("SERVING_ROOT_PATH", "/models/iris/"),
        ("SERVING_ROOT_PATH", "/a b"),
    ],
)
def test_a_setting_that_could_not_work_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=variable):
        load_settings(Settings)


def test_an_error_of_the_connection_has_the_form_of_its_protocol_behind_a_prefix(
    settings: Settings, loaded: LoadedModel
) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"root_path": PREFIX}), loaded)
    for protocol in app.state.protocols:
        for path in protocol.paths:
            _, headers, body = app.state.format_error(URITooLong("too long"), PREFIX + path)
            expected = app.state.format_error(URITooLong("too long"), path)[2]
            assert body == expected
            assert b"urn:" not in body
            assert headers
