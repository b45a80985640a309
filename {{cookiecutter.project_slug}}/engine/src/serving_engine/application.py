"""Installs the engine on a FastAPI application; a service's `create_app` calls it."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from .distribution import engine_and_template
from .inference.model import Model, warm_model
from .inference.observers.record_settings import check_record
from .inference.readiness import Readiness
from .protocols import find_protocols
from .runtimes.base import LoadedModel
from .runtimes.load import load_model
from .settings import ServingSettings
from .telemetry.metrics import Metrics
from .telemetry.tracing import Tracer
from .web import health
from .web.access_log import AccessLog
from .web.api_keys import RequireAPIKey, probes
from .web.openapi import install_openapi
from .web.page import OpenRoute, PageRoute
from .web.problem_details import install_problem_details, internal_error_response
from .web.request_middleware import RequestMiddleware
from .web.short_way import Entry, ShortWay
from .web.swagger_ui import remove_fastapi_pages, swagger_ui_routes

EXPOSED_HEADERS = ("X-Request-ID", "Retry-After", "Inference-Header-Content-Length")
"""Headers of a response that a script of another origin may read."""


def install(app: FastAPI, settings: ServingSettings) -> None:
    """Install everything on an application but the lifespan and the service's own routes.

    It sets `app.state.settings`, `.metrics`, `.tracer`, `.readiness`, `.entry`, `.protocols` and
    `.versions`. It adds the middleware for request ids, logs, traces, metrics, API keys and CORS;
    the routes `/livez`, `/readyz`, `/metrics`, `/model` and those of every protocol; the pages at
    `/` and `/docs`, in place of FastAPI's `/docs` and `/redoc`; errors as problem details
    (RFC 9457); and the model's types in the OpenAPI document.
    Raises UsageError if an environment variable of a protocol or a setting of the record is
    invalid.
    """
    check_record(settings)
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.tracer = tracer = Tracer(app.title, app.version)
    app.state.metrics.count_dropped_traces = lambda: tracer.dropped
    app.state.readiness = Readiness()
    app.state.entry = Entry(app)
    app.state.protocols = find_protocols()
    app.state.versions = engine_and_template()
    app.root_path = settings.root_path or app.root_path
    remove_fastapi_pages(app)
    pages = _pages(settings)
    app.router.routes += pages
    app.add_middleware(ShortWay, router=app.router)  # the innermost: the first that is added
    if settings.api_keys:
        app.add_middleware(
            RequireAPIKey, keys=settings.api_keys, probes=probes(app), open_routes=pages
        )
    app.add_middleware(_allow_origins, origins=settings.cors_origins)
    app.add_middleware(
        RequestMiddleware,
        metrics=app.state.metrics,
        tracer=app.state.tracer,
        access_log=_access_log(settings),
        error_response=lambda request_id: _allow_origins(
            internal_error_response(request_id), settings.cors_origins
        ),
        pages=frozenset(page.path for page in app.routes if isinstance(page, Route)),
        untraced=probes(app) | {"/metrics"},
        trusted_proxies=settings.trusted_proxies,
    )
    for protocol in app.state.protocols:
        app.router.routes += protocol.router.routes
        app.state.metrics.protocols |= protocol.labels()
    app.router.routes += health.router.routes
    install_problem_details(app)
    install_openapi(app)


def _pages(settings: ServingSettings) -> list[OpenRoute]:
    """Return the routes of the pages for browsers."""
    if not settings.docs:
        return []
    page = [PageRoute("/", "page.html")] if settings.page else []
    return [*page, *swagger_ui_routes()]


def _access_log(settings: ServingSettings) -> AccessLog | None:
    if not settings.access_log:
        return None
    return AccessLog(settings.access_log_per_second, settings.trusted_proxies)


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
