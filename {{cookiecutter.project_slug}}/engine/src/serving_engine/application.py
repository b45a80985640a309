"""Installs the engine on a FastAPI application; a service's `create_app` calls it."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from .distribution import engine_and_template
from .inference.model import Model, warm_model
from .inference.readiness import Readiness
from .protocols import find_protocols
from .runtimes.base import LoadedModel
from .runtimes.load import load_model
from .settings import ServingSettings
from .telemetry.metrics import Metrics
from .web import health
from .web.api_keys import RequireAPIKey, probes
from .web.openapi import install_openapi
from .web.page import PageRoute
from .web.problem_details import install_problem_details, internal_error_response
from .web.request_middleware import RequestMiddleware

EXPOSED_HEADERS = ("X-Request-ID", "Retry-After", "Inference-Header-Content-Length")
"""Headers of a response that a script of another origin may read."""


def install(app: FastAPI, settings: ServingSettings) -> None:
    """Install everything on an application but the lifespan and the service's own routes.

    It sets `app.state.settings`, `.metrics`, `.readiness`, `.protocols` and `.versions`. It adds
    the middleware for request ids, logs, metrics, API keys and CORS; the routes `/livez`,
    `/readyz`, `/metrics`, `/model` and those of every protocol; the page at `/`; errors as problem
    details (RFC 9457); and the model's types in the OpenAPI document.
    Raises UsageError if an environment variable of a protocol is invalid.
    """
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.readiness = Readiness()
    app.state.protocols = find_protocols()
    app.state.versions = engine_and_template()
    app.root_path = settings.root_path or app.root_path
    page = PageRoute() if settings.docs and settings.page else None
    if page is not None:
        app.router.routes.append(page)
    if settings.api_keys:
        app.add_middleware(RequireAPIKey, keys=settings.api_keys, probes=probes(app), page=page)
    app.add_middleware(_allow_origins, origins=settings.cors_origins)
    app.add_middleware(
        RequestMiddleware,
        metrics=app.state.metrics,
        access_log=settings.access_log,
        error_response=lambda request_id: _allow_origins(
            internal_error_response(request_id), settings.cors_origins
        ),
        pages=frozenset(page.path for page in app.routes if isinstance(page, Route)),
    )
    for protocol in app.state.protocols:
        app.router.routes += protocol.router.routes
        app.state.metrics.protocols |= protocol.labels()
    app.include_router(health.router)
    install_problem_details(app)
    install_openapi(app)


def _allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins call an application from a browser. origins: of the setting."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )


def include_fast_router(app: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to the application itself, before all others.

    `app.include_router` works too, but searches the routes again for every request, which costs
    more than everything else that FastAPI does for a `FastRoute`. The router has no prefix.
    """
    app.router.routes[:0] = router.routes


async def load_and_warm(app: FastAPI, model: LoadedModel | None = None) -> Model:
    """Load the model in `settings.model_dir`, verify it, and predict its golden examples.

    app: an application on which `install` was called. model: a model that is loaded already, as
    tests and forked workers pass it. Returns the value for `app.state.model`.
    Raises ModelError, one line with the remedy, if there is no model that may be served.
    """
    settings: ServingSettings = app.state.settings
    return await warm_model(model or load_model(settings), settings, app.state.metrics)
