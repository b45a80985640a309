"""API keys: which paths require one, which keys are valid, and that no key is ever shown."""

import asyncio
import hmac
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from pydantic import ValidationError
from serving_engine.errors import UsageError
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.load import LoadedModel
from serving_engine.settings import load_settings
from serving_engine.web.api_keys import probes
from serving_engine.web.dependencies import ModelDep
from starlette.websockets import WebSocketDisconnect

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row
from .service import run

OLD = "old-key-0123456789abcdef"
NEW = "new-key-0123456789abcdef"
WRONG = "bad-key-0123456789abcdef"


@pytest.fixture
def settings(model_dir: Path) -> Settings:
    """Settings with two keys."""
    return Settings(model_dir=model_dir, api_keys=f"{OLD},{NEW}")  # type: ignore[arg-type]


@pytest.fixture
def app(settings: Settings, loaded: LoadedModel) -> FastAPI:
    app = create_app(settings, loaded)
    router = APIRouter()

    @router.get("/mine")
    async def mine(model: ModelDep) -> str:
        return model.manifest.name

    @app.websocket("/socket")
    async def accept_and_close(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.include_router(router, prefix="/own")
    return app


REQUIRES_KEY = [
    ("POST", "/predict"),
    ("GET", "/model"),
    ("GET", "/metrics"),
    ("GET", "/docs/swagger-ui.css/"),
    ("GET", "/redoc"),
    ("GET", "/openapi.json"),
    ("GET", "/own/mine"),
    ("GET", "/nope"),
    ("GET", "/livez/"),
    ("GET", "/.//livez"),
    ("GET", "/livez%0a"),
    ("GET", "/LIVEZ"),
    ("GET", "/own/livez"),
    ("OPTIONS", "/predict"),
    ("HEAD", "/model"),
]


@pytest.mark.parametrize(("method", "path"), REQUIRES_KEY)
def test_every_path_but_the_probes_requires_a_key(
    client: TestClient, method: str, path: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert "x-request-id" in response.headers
    if method != "HEAD":
        assert response.json()["title"] == "Unauthorized"
    assert client.request(method, path, headers={"X-API-Key": NEW}).status_code != 401


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_require_no_key(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200


def test_the_probes_require_no_key_below_a_prefix(app: FastAPI) -> None:
    with TestClient(app, root_path="/below") as client:
        assert client.get("/below/livez").status_code == 200
        assert client.get("/below/model").status_code == 401


@pytest.mark.parametrize(
    "fields",
    [
        [("Authorization", f"Bearer {OLD}")],
        [("Authorization", f"Bearer {NEW}")],
        [("Authorization", f"bearer   {NEW} ")],
        [("X-API-Key", OLD)],
        [("X-API-Key", NEW)],
        [("Authorization", "Basic eDp5"), ("X-API-Key", NEW)],
        [("X-API-Key", WRONG), ("X-API-Key", NEW)],
    ],
)
def test_any_valid_key_is_accepted_in_either_header(
    client: TestClient, manifest: Manifest, fields: list[tuple[str, str]]
) -> None:
    body = {"instances": [example_row(manifest)]}
    assert client.post("/predict", json=body, headers=fields).status_code == 200
    assert client.get("/own/mine", headers=fields).json() == manifest.name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Authorization", ""),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer "),
        ("Authorization", NEW),
        ("Authorization", f"Basic {NEW}"),
        ("Authorization", f"Bearer{NEW}"),
        ("Authorization", f"Bearer {NEW}x"),
        ("Authorization", f"Bearer {NEW[:-1]}"),
        ("Authorization", f"Bearer {OLD},{NEW}"),
        ("Authorization", f"Bearer {OLD} {NEW}"),
        ("X-API-Key", ""),
        ("X-API-Key", WRONG),
        ("X-API-Key", NEW.upper()),
        ("X-API-Key", f"Bearer {NEW}"),
        ("X-API-Key", b"\xff\x00\xfe"),
        ("X-API-Key", "**********"),
        ("X-API-Key", "a" * 100_000),
        ("Cookie", f"X-API-Key={NEW}"),
    ],
)
def test_anything_else_gets_401(client: TestClient, field: str, value: str | bytes) -> None:
    assert client.get("/model", headers={field: value}).status_code == 401
    assert client.get(f"/model?api_key={NEW}").status_code == 401


def test_a_websocket_requires_a_key(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as error, client.websocket_connect("/socket"):
        pass
    assert error.value.code == 1008
    with client.websocket_connect("/socket", headers={"X-API-Key": NEW}):
        pass


def test_the_body_of_a_request_without_a_valid_key_is_not_read(app: FastAPI) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "headers": [(b"content-type", b"application/json"), (b"x-api-key", WRONG.encode())],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_all_keys_are_compared_in_any_case(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recording)
    for key in (OLD, NEW, WRONG, "x"):
        compared.clear()
        client.get("/model", headers={"X-API-Key": key})
        assert len(compared) == 2
        assert {len(part) for pair in compared for part in pair} == {32}


def test_without_keys_in_the_settings_no_key_is_required(
    model_dir: Path, loaded: LoadedModel
) -> None:
    with TestClient(create_app(Settings(model_dir=model_dir), loaded)) as client:
        assert client.get("/model").status_code == 200
        assert "security" not in client.get("/openapi.json").json()


def test_the_openapi_document_describes_the_keys(client: TestClient) -> None:
    document = client.get("/openapi.json", headers={"X-API-Key": NEW}).json()
    schemes = document["components"]["securitySchemes"]
    assert [{name: []} for name in schemes] == document["security"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            is_probe = path in probes(client.app)  # type: ignore[arg-type]
            assert operation.get("security") == ([] if is_probe else None)
            assert ("401" in operation["responses"]) == (not is_probe)


# Secrecy.


def test_no_key_is_shown(
    client: TestClient, app: FastAPI, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())]
    shown += [repr(app.user_middleware), repr(vars(app.state)), json.dumps(app.openapi())]
    for key in (OLD, WRONG):
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            for path in ("/model", "/predict", "/nope", "/docs"):
                shown.append(client.get(path, headers=headers).text)
    shown += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert len(caplog.records) >= 16
    for text in shown:
        assert not any(key in text for key in (OLD, NEW, WRONG)), text


INVALID = ["", "short", f"{OLD},", f"{OLD},tiny", f"{OLD}, {NEW}", f"{OLD}\n", "sixteen characters"]
INVALID += [
    "0123456789abcdé",
    f'["{OLD}"]',
    f'"{OLD}"',
    "a" * 15,
    "=" * 20,
    "a=b" * 10,
    "\udcff" * 20,
]


@pytest.mark.parametrize("keys", INVALID)
def test_an_invalid_key_is_rejected_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setenv("SERVING_API_KEYS", keys)
    with pytest.raises(UsageError, match=r"^SERVING_API_KEYS is invalid") as usage_error:
        load_settings(Settings)
    secrets = [part for part in keys.split(",") if part.strip()]
    assert not any(part in str(usage_error.value) for part in secrets)
    with pytest.raises(ValidationError) as validation_error:
        Settings(api_keys=keys)  # type: ignore[arg-type]
    assert not any(part in str(validation_error.value) for part in secrets)


@pytest.mark.parametrize("key", ["0123456789abcdef", "0" * 16, "aZ09-._~+/aZ09-._~==", "a" * 500])
def test_a_valid_key_is_accepted(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("SERVING_API_KEYS", key)
    keys = load_settings(Settings).api_keys
    assert keys is not None
    assert [valid.get_secret_value() for valid in keys] == [key]


def test_a_service_does_not_start_with_a_bad_key() -> None:
    ended = run("serve", SERVING_API_KEYS="to-short-a-key")
    assert ended.returncode == 2
    (line,) = ended.stdout.splitlines()
    assert "SERVING_API_KEYS" in line
    assert "to-short-a-key" not in line
