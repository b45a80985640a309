"""The service as an application of Ray Serve, whose replicas load the model and serve it.

A Serve config names `application` as its `import_path`, and the package of the service in `args`.
Ray's proxies receive the requests, so the room `http/` has no part in it: what bounds headers, URLs
and slow clients is theirs.
"""

import logging
from typing import Any

from pydantic import BaseModel
from ray import serve
from ray.serve.schema import LoggingConfig

from ..asgi import App, Message, Receive, Scope, Send
from ..blas_threads import limit_threads_of_imports
from ..errors import ServiceExit, StartupError, UsageError
from ..heap import disable_gc, freeze_heap, tune_malloc
from ..runtimes.load import load_model
from ..service import Service
from ..settings import ServingSettings, load_settings
from ..telemetry.logs import configure_logs
from .served_app import ServedApp

logger = logging.getLogger(__name__)


class Arguments(BaseModel):
    """The `args` of the application in a Serve config. package: that of the service."""

    package: str


class Replica:
    """A replica of the deployment: Ray adds the ASGI application to this class."""

    app: ServedApp

    async def check_health(self) -> None:
        """Raise StartupError if `/readyz` says 503. Ray replaces the replica after three times."""
        state = self.app.state
        if state.readiness.reason is not None:
            raise StartupError(f"the replica is {state.readiness.reason}")
        if state.model.failed_threads:
            raise StartupError(
                "a call of the model is stuck, or its thread is lost. Raise SERVING_STUCK_TIMEOUT "
                "for a model that is that slow."
            )


def application(arguments: Arguments) -> serve.Application:
    """Return the application for `serve deploy` and `serve run`.

    Its one deployment is called `model`. The settings decide how many requests a replica takes and
    how long it drains, unless the Serve config does. Ray calls it on a node, in the runtime
    environment of the application. Raises UsageError.
    """
    service = Service(arguments.package)
    settings = _load_settings(service)

    def build() -> ServedApp:
        return build_replica(service)

    deployment = serve.deployment(
        serve.ingress(build)(Replica),
        name="model",
        # Ray's default of 5 would leave nothing to batch. The queue of the replica is the bound.
        max_ongoing_requests=settings.max_queued_requests,
        max_queued_requests=settings.max_queued_requests,
        health_check_timeout_s=settings.hang_timeout,
        graceful_shutdown_timeout_s=settings.drain_timeout,
        logging_config=LoggingConfig(enable_access_log=False),  # the service writes its own
    )
    return deployment.bind()


def build_replica(service: Service) -> ServedApp:
    """Load the model and make the application of a replica; the lifespan warms it up.

    Raises ServiceExit, whose one line is logged, and shown by `serve status`.
    """
    limit_threads_of_imports()
    settings = _load_settings(service)
    configure_logs(settings.log_format, settings.log_level)
    disable_gc()
    try:
        app = service.import_create_app()(settings, load_model(settings))
    except ServiceExit as error:
        logger.critical(str(error))
        raise
    app.add_middleware(LeaveRequestID)
    freeze_heap()
    tune_malloc(settings.max_body_bytes)
    served: ServedApp = app
    return served


class LeaveRequestID:
    """ASGI middleware that leaves the header X-Request-ID to Ray, which sends the same id."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                message["headers"] = [each for each in headers if each[0] != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, send_without)


def _load_settings(service: Service) -> Any:
    settings: ServingSettings = load_settings(service.import_settings())
    if settings.workers > 1:
        raise UsageError(
            f"SERVING_WORKERS={settings.workers} is unsupported on Ray, where each replica is one "
            "process. Set SERVING_WORKERS=1, and num_replicas in the Serve config."
        )
    return settings
