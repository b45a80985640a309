"""The fast route keeps FastAPI's contract, and leaves to FastAPI what it does not support."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.testclient import TestClient
from serving_engine.web import fast_route as module
from serving_engine.web.fast_route import FastRoute, compile_dependencies

from .example_service.app import router as predict_router

calls: list[str] = []


async def get_base(request: Request) -> str:
    calls.append("base")
    return request.headers.get("x-base", "none")


BaseDep = Annotated[str, Depends(get_base)]


async def get_derived(base: BaseDep) -> str:
    calls.append("derived")
    return f"derived from {base}"


DerivedDep = Annotated[str, Depends(get_derived)]


async def forbid() -> None:
    raise HTTPException(403, "forbidden")


def sync_dependency() -> str:
    return "sync"


async def generator_dependency() -> Any:
    calls.append("opened")
    yield "generated"
    calls.append("closed")


@pytest.fixture
def router() -> APIRouter:
    calls.clear()
    router = APIRouter(route_class=FastRoute)

    @router.post("/fast", response_model=None, status_code=201)
    async def fast(derived: DerivedDep, base: BaseDep) -> dict[str, str]:
        return {"derived": derived, "base": base}

    @router.get("/response", response_model=None)
    async def response(base: BaseDep) -> Response:
        return Response(base, 202, {"x-own": "1"}, "text/plain")

    @router.get("/query/{number}")
    async def query(number: int, base: BaseDep, limit: int = 1) -> dict[str, object]:
        return {"number": number, "limit": limit, "base": base}

    @router.get("/others")
    async def others(
        one: Annotated[str, Depends(sync_dependency)],
        two: Annotated[str, Depends(generator_dependency)],
        tasks: BackgroundTasks,
    ) -> list[str]:
        tasks.add_task(calls.append, "task")
        return [one, two]

    return router


@pytest.fixture(params=["on the application", "included"])
def app(request: pytest.FixtureRequest, router: APIRouter) -> FastAPI:
    app = FastAPI()
    if request.param == "included":
        app.include_router(router)
    else:
        app.router.routes.extend(router.routes)
    return app


def test_dependencies_are_resolved_once_and_in_order(client: TestClient) -> None:
    response = client.post("/fast", headers={"x-base": "b"})
    assert response.status_code == 201
    assert response.json() == {"derived": "derived from b", "base": "b"}
    assert response.headers["content-type"] == "application/json"
    assert calls == ["base", "derived"]


def test_a_response_is_sent_as_it_is(client: TestClient) -> None:
    response = client.get("/response", headers={"x-base": "b"})
    assert (response.status_code, response.text, response.headers["x-own"]) == (202, "b", "1")


def test_parameters_are_validated_by_fastapi(client: TestClient) -> None:
    assert client.get("/query/3?limit=5").json() == {"number": 3, "limit": 5, "base": "none"}
    assert client.get("/query/x").status_code == 422


def test_other_kinds_of_dependencies_are_resolved_by_fastapi(client: TestClient) -> None:
    assert client.get("/others").json() == ["sync", "generated"]
    assert sorted(calls) == ["closed", "opened", "task"]


def test_overrides_apply_at_every_depth_and_can_be_removed(
    app: FastAPI, client: TestClient
) -> None:
    app.dependency_overrides[get_base] = lambda: "overridden"
    assert client.post("/fast").json()["derived"] == "derived from overridden"
    assert client.get("/query/3").json()["base"] == "overridden"
    app.dependency_overrides.clear()
    assert client.post("/fast").json()["derived"] == "derived from none"


def test_wrong_methods_get_405(client: TestClient) -> None:
    response = client.get("/fast")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_dependencies_of_an_inclusion_are_not_skipped(router: APIRouter) -> None:
    app = FastAPI()
    app.include_router(router, dependencies=[Depends(forbid)])
    with TestClient(app) as client:
        assert client.post("/fast").status_code == 403
    assert calls == []


def test_dependencies_of_a_router_are_not_skipped() -> None:
    router = APIRouter(route_class=FastRoute, dependencies=[Depends(forbid)])

    @router.get("/")
    async def handler() -> None:
        calls.append("handler")

    app = FastAPI()
    app.router.routes.extend(router.routes)
    with TestClient(app) as client:
        assert client.get("/").status_code == 403
    assert "handler" not in calls


def test_the_predict_route_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    (route,) = predict_router.routes
    assert isinstance(route, FastRoute)
    steps = compile_dependencies(route.dependant)
    assert steps is not None
    assert [call.__name__ for call, _ in steps][-1] == "predict"
    monkeypatch.setattr(module, "_SUPPORTED", module._SUPPORTED - {"dependencies"})
    assert compile_dependencies(route.dependant) is None
