"""Reload in a service of one process: a new model replaces the one that is served.

The new model is loaded and verified in a thread, warmed up, and then takes over with one
assignment. A request that has begun keeps the model that parsed its rows. With several workers,
the supervisor replaces processes instead.
"""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import LoadTimeout, ServiceExit, as_exception
from ..heap import freeze_heap
from ..inference.model import Model, warm_model
from ..runtimes.base import LoadedModel
from ..runtimes.load import load_model
from ..schema.compatibility import check_accepts_as_much
from ..settings import ServingSettings
from .manifest_watch import ManifestWatch
from .served_app import AppState

logger = logging.getLogger("reload")

Result = TypeVar("Result")


class Reloader:
    """Carries out requested reloads, one at a time."""

    def __init__(self, state: AppState, settings: ServingSettings) -> None:
        self._state = state
        self._settings = settings
        self._watch = ManifestWatch(settings.model_dir) if settings.watch else None
        self._requested = False
        self._task: asyncio.Task[None] | None = None

    def request(self, *_signal: object) -> None:
        """Request a reload; a signal handler."""
        self._requested = True

    def tick(self) -> None:
        """Start a reload if one was requested. Called several times a second."""
        if self._watch is not None and self._watch.changed():
            self._requested = True
        if self._requested and (self._task is None or self._task.done()):
            self._requested = False
            self._task = asyncio.create_task(self._reload())

    def stop(self) -> None:
        """Cancel a reload that is in progress."""
        if self._task is not None:
            self._task.cancel()

    async def _reload(self) -> None:
        served = name_of(self._state.model)
        try:
            ended = await self._replace()
        except ServiceExit as error:
            logger.error("reload failed, %s stays: %s", served, error)  # noqa: TRY400
        except Exception:
            logger.exception("reload failed, %s stays", served)
        else:
            self._state.metrics.reloaded(True)
            logger.info("reloaded: %s replaces %s", name_of(self._state.model), served)
            await self._wait_for(ended)
            gc.unfreeze()  # so that the old model can be collected
            freeze_heap()
            return
        self._state.metrics.reloaded(False)
        freeze_heap()

    async def _replace(self) -> Callable[[], bool]:
        """Replace the model; return a function that returns whether the old one has ended."""
        settings = self._settings
        try:
            loaded: LoadedModel = await asyncio.wait_for(
                run_in_thread(lambda: load_model(settings)), settings.load_timeout
            )
        except TimeoutError:
            raise LoadTimeout(
                f"loading took longer than {settings.load_timeout:g} s (SERVING_LOAD_TIMEOUT)"
            ) from None
        check_accepts_as_much(self._state.model.manifest.signature, loaded.manifest.signature)
        new = await warm_model(loaded, settings, self._state.metrics)
        old = self._state.model
        self._state.model = new
        return old.retire()

    async def _wait_for(self, ended: Callable[[], bool]) -> None:
        settings = self._settings
        deadline = time.monotonic() + settings.body_timeout + settings.request_timeout
        while not ended() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)


async def run_in_thread(call: Callable[[], Result]) -> Result:
    """Run `call` in a thread; return its result or raise its exception.

    The process can end before the thread, unlike a thread of an executor. What is no Exception, as
    the SystemExit of a model's code, becomes one: it would end the event loop.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def finish(result: Result | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result = None
        error = None
        try:
            result = call()
        except BaseException as raised:
            error = as_exception(raised)
        with suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await future


def name_of(model: Model) -> str:
    """Return the name and version of a model, for the log."""
    return f"{model.manifest.name} {model.manifest.version}"
