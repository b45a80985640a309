"""`/docs`: Swagger UI from the extra `docs`, and nothing from another host.

What it does in a browser is tested by the template.
"""

import re
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving_engine import LoadedModel, install
from serving_engine.web import swagger_ui

from .example_service.app import create_app
from .example_service.settings import Settings

KEY = "docs-key-0123456789abcdef"
OTHER_HOST = "https?://|[\"'(]//"


def loaded_by(page: str) -> list[str]:
    """The addresses that a page loads, but for the empty icon."""
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    return [address for address in addresses if address != "data:,"]


@pytest.mark.parametrize("prefix", ["", "/models/iris"])
def test_the_page_loads_its_files_from_this_service_alone(
    settings: Settings, loaded: LoadedModel, prefix: str
) -> None:
    app = create_app(settings.model_copy(update={"root_path": prefix}), loaded)
    with TestClient(app) as client:
        response = client.get(f"{prefix}/docs")
        assert response.status_code == 200
        assert not re.search(OTHER_HOST, response.text)
        files = [client.get(urljoin(f"{prefix}/docs", name)) for name in loaded_by(response.text)]
    assert [file.headers["content-type"].split(";")[0] for file in files] == [
        "text/css",
        "text/javascript",
    ]
    assert "SwaggerUIBundle" in files[1].text
    assert all(file.headers["x-content-type-options"] == "nosniff" for file in files)


def test_its_policy_allows_no_inline_code_and_no_other_host(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert re.search(r"script-src 'sha256-\S+' 'self';", policy)
    assert not re.search("unsafe|http|[*]", policy)


def test_it_needs_no_key_but_what_it_reads_does(settings: Settings, loaded: LoadedModel) -> None:
    closed = Settings(model_dir=settings.model_dir, api_keys=KEY)  # type: ignore[arg-type]
    with TestClient(create_app(closed, loaded)) as client:
        page = client.get("/docs")
        assert page.status_code == 200
        for address in loaded_by(page.text):
            assert client.get(urljoin("/docs", address)).status_code == 200
        assert client.get("/openapi.json").status_code == 401


def test_without_the_extra_it_says_so_and_calls_nobody(
    settings: Settings, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swagger_ui, "_PACKAGE", "not_installed")
    with TestClient(create_app(settings, loaded)) as client:
        response = client.get("/docs")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert "the extra `docs`" in response.json()["detail"]
        assert client.get("/docs/swagger-ui.css").status_code == 404
        assert client.get("/openapi.json").status_code == 200


def test_the_pages_that_fastapi_adds_are_removed(settings: Settings) -> None:
    app = FastAPI(docs_url="/documentation", redoc_url="/redoc")
    install(app, settings)
    client = TestClient(app)
    for path in ("/documentation", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404, path
    assert client.get("/docs").status_code == 200
