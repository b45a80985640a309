"""What platforms ask: alive, ready, which model, how busy."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ..dependencies import ModelDep
from ..errors import Unavailable
from ..telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Alive")
async def livez() -> dict[str, str]:
    """Answers as long as the event loop turns; never touches the model."""
    return {"status": "alive"}


@router.get("/readyz", summary="Ready")
async def readyz(request: Request) -> dict[str, str]:
    """Answers 200 when the model may be asked, and 503 with the reason while it may not."""
    reason = request.app.state.readiness.reason
    if reason is not None:
        raise Unavailable(f"The service is {reason}.", headers={"Retry-After": "1"})
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and timings in the Prometheus text format."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE)


@router.get("/model", summary="The model")
async def model(model: ModelDep) -> dict[str, Any]:
    """Name, version, signature, provenance and the versions it was built with."""
    return model.description
