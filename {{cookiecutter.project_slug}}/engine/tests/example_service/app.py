"""The application of the example service: what a generated `app.py` does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from serving_engine import (
    FastRoute,
    LoadedModel,
    ModelDep,
    Predictions,
    RowsDep,
    describe_distribution,
    include_fast_router,
    install,
    load_and_warm,
    load_settings,
)

from .settings import Settings

router = APIRouter(tags=["prediction"], route_class=FastRoute)


@router.post("/predict", response_model=None, summary="Predict rows")
async def predict(rows: RowsDep, model: ModelDep) -> Predictions:
    """One prediction for each row, in order."""
    return await model.predict(rows)


def create_app(settings: Settings | None = None, model: LoadedModel | None = None) -> FastAPI:
    """Make the application; the lifespan loads the model unless one is given."""
    settings = settings or load_settings(Settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.model = await load_and_warm(app, model)
        app.state.readiness.ready()
        yield
        app.state.model.close()

    about = describe_distribution("serving-engine")
    app = FastAPI(
        title=about.name,
        summary=about.summary,
        version=about.version,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install(app, settings)
    include_fast_router(app, router)
    return app
