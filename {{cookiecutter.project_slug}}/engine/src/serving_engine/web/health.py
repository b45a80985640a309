"""Probes, metrics and the description of the model."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ..telemetry.metrics import CONTENT_TYPE
from .dependencies import ModelDep
from .protocol import check_ready

router = APIRouter(tags=["health"])


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
async def model(request: Request, model: ModelDep) -> dict[str, Any]:
    """Name, version, signature, provenance and library versions of the model; what serves it."""
    return {**model.description, "served_by": request.app.state.versions}
