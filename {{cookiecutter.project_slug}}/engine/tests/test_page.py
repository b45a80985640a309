"""The page at `/`: when there is one, and what a browser is allowed to do with it.

What its script does is tested in a browser by the template.
"""

import base64
import hashlib
import re

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from serving_engine import LoadedModel

from .example_service.app import create_app
from .example_service.settings import Settings

KEY = "page-key-0123456789abcdef"


def test_the_page_is_one_small_file_that_names_no_other_host(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert len(response.content) < 20 * 1024
    assert not re.search("https?://|[\"'(]//", response.text)
    assert client.head("/").status_code == 200


def test_its_policy_allows_its_own_script_and_style_alone(client: TestClient) -> None:
    response = client.get("/")
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r"\son[a-z]+=|\sstyle=|<script\s|<link(?! rel=.icon)", response.text)


@pytest.mark.parametrize("off", [{"page": False}, {"docs": False}])
def test_no_page_where_it_is_off(
    settings: Settings, loaded: LoadedModel, off: dict[str, bool]
) -> None:
    with TestClient(create_app(settings.model_copy(update=off), loaded)) as client:
        assert client.get("/").status_code == 404


@pytest.fixture
def with_key(settings: Settings, loaded: LoadedModel) -> FastAPI:
    keys = Settings(model_dir=settings.model_dir, api_keys=KEY)  # type: ignore[arg-type]
    return create_app(keys, loaded)


def test_the_page_needs_no_key_but_what_it_reads_does(with_key: FastAPI) -> None:
    with TestClient(with_key) as client:
        assert client.get("/").status_code == 200
        for path in ("/model", "/openapi.json"):
            assert client.get(path).status_code == 401
    with TestClient(with_key, root_path="/below") as client:
        assert client.get("/below/").status_code == 200


def test_a_route_of_the_service_takes_its_place_and_needs_the_key(with_key: FastAPI) -> None:
    router = APIRouter()

    @router.get("/")
    async def root() -> str:
        return "the service's own"

    with_key.include_router(router)
    with TestClient(with_key) as client:
        assert client.get("/").status_code == 401
        assert client.get("/", headers={"X-API-Key": KEY}).json() == "the service's own"
