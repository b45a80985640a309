"""Probes, metrics and the description of the model."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ..errors import NotFound
from ..settings import CARD
from ..telemetry.metrics import CONTENT_TYPE
from .dependencies import ModelDep, SettingsDep
from .fast_route import FastRoute
from .protocol import check_ready

MAX_CARD_BYTES = 1024 * 1024

router = APIRouter(tags=["health"], route_class=FastRoute)


@router.get("/livez", summary="Alive")
async def livez() -> dict[str, str]:
    """Returns 200 as long as the event loop runs; does not use the model."""
    return {"status": "alive"}


@router.get("/readyz", summary="Ready")
async def readyz(request: Request) -> dict[str, str]:
    """Returns 200 when the model is ready, and 503 with the reason while it is not."""
    check_ready(request)
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and durations in the Prometheus text format."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE)


@router.get("/model", summary="The model")
async def model(request: Request, model: ModelDep, settings: SettingsDep) -> dict[str, Any]:
    """Name, version, signature, provenance and library versions of the model; what serves it.

    The member `card` says that it has a model card.
    """
    has_card = (settings.model_dir / CARD).is_file()
    card = {"card": True} if has_card else {}
    return {**model.description, **card, "served_by": request.app.state.versions}


@router.get("/model/card", include_in_schema=False)
def card(settings: SettingsDep) -> Response:
    """What the owner of the model says about it, in Markdown; 404 if there is no model card."""
    path = settings.model_dir / CARD
    if not path.is_file():
        raise NotFound("This model has no card: `model card` writes one.")
    with path.open("rb") as file:
        text = file.read(MAX_CARD_BYTES)
    return Response(text, media_type="text/markdown; charset=utf-8")
