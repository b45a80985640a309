"""The application: settings in, a FastAPI app with one loaded model out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from serving_engine import (
    LoadedModel,
    describe_distribution,
    include_fast_router,
    install,
    load_and_warm,
    load_settings,
)

from .routes import router
from .settings import Settings


def create_app(settings: Settings | None = None, model: LoadedModel | None = None) -> FastAPI:
    """Make the application.

    settings: read from the environment unless given. model: a model that is loaded already, as
    tests and forked workers have; otherwise the lifespan loads the one in `settings.model_dir`.
    Entering the lifespan raises ModelError if there is no model that may be served.
    """
    settings = settings or load_settings(Settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Load the model once per process, before the service listens."""
        app.state.model = await load_and_warm(app, model)
        app.state.readiness.ready()
        yield
        app.state.model.close()  # a reload may have replaced it

    about = describe_distribution(str(__package__))
    app = FastAPI(
        title=about.name,
        summary=about.summary,
        version=about.version,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
        lifespan=lifespan,
        # Looked up on every request otherwise; turn it on if you use OpenTelemetry.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install(app, settings)  # probes, metrics, logs, errors, API keys, protocols
    include_fast_router(app, router)
    # Routers of your own: app.include_router(...). Middleware: app.add_middleware(...).
    return app
