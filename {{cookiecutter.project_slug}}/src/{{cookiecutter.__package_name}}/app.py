"""The application: settings in, a FastAPI app with one loaded model out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from .api import health, predict
from .api.keys import RequireKey, probes
from .api.openapi import install_openapi
from .api.problems import install_problems, unexpected
from .api.protocol import find_protocols
from .artifact.load import LoadedModel, load_model
from .distribution import distribution
from .serving.model import warm_model
from .serving.readiness import Readiness
from .settings import Settings, load_settings
from .telemetry.metrics import Metrics
from .telemetry.requests import RequestTelemetry


def create_app(settings: Settings | None = None, model: LoadedModel | None = None) -> FastAPI:
    """Make the application.

    settings: read from the environment unless given. model: a model that is already loaded, as
    tests and forked workers have; otherwise the lifespan loads the one in `settings.model_dir`.
    Entering the lifespan raises ModelError if there is no model that may be served.
    """
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.model = await warm_model(
            model or load_model(settings.model_dir, settings.max_model_bytes),
            settings,
            app.state.metrics,
        )
        app.state.readiness.ready()
        yield
        app.state.model.close()  # by now perhaps another: see serving/reload.py

    about = distribution()
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
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.readiness = Readiness()
    app.state.protocols = find_protocols()
    if settings.api_keys:
        app.add_middleware(RequireKey, keys=settings.api_keys, probes=probes(app))
    app.add_middleware(
        RequestTelemetry,
        metrics=app.state.metrics,
        access_log=settings.access_log,
        refuse=unexpected,
        pages=frozenset(page.path for page in app.routes if isinstance(page, Route)),
    )
    # The hot route stands first and on the application itself: each search costs every request.
    app.router.routes[:0] = predict.router.routes
    for protocol in app.state.protocols:
        app.router.routes += protocol.router.routes
        app.state.metrics.protocols |= protocol.labels()
    app.include_router(health.router)
    install_problems(app)
    install_openapi(app)
    return app
