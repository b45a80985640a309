"""Another model in place of the one that is served, in a process that serves on meanwhile.

It is loaded and verified anew in a thread, warmed up, and then takes over with one assignment.
Requests that began with the old one end with it: each holds the model that parsed its rows. With
several workers the supervisor replaces processes instead.
"""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..artifact.load import LoadedModel, load_model
from ..errors import ServiceExit
from ..schema.compatibility import check_accepts_as_much
from ..settings import Settings
from .heap import settle_heap
from .model import Model, warm_model
from .watch import Watch

logger = logging.getLogger("reload")


class Reloads:
    """Reloads when it was asked to, one at a time.

    state: the application's, with its `model` and its `metrics`.
    """

    def __init__(self, state: Any, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._watch = Watch(settings.model_dir) if settings.watch else None
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self, *_signal: object) -> None:
        """Ask for a reload; a signal handler."""
        self._asked = True

    def tick(self) -> None:
        """Begin a reload if one was asked for. Called some times a second."""
        if self._watch is not None and self._watch.changed():
            self._asked = True
        if self._asked and (self._task is None or self._task.done()):
            self._asked = False
            self._task = asyncio.create_task(self._reload())

    def stop(self) -> None:
        """Give up a reload that is under way."""
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
            gc.unfreeze()  # what is of no use any more
            settle_heap()
            return
        self._state.metrics.reloaded(False)
        settle_heap()

    async def _replace(self) -> Callable[[], bool]:
        """Let another model take over; return what tells whether the old one has ended."""
        settings = self._settings
        loaded: LoadedModel = await in_a_thread(
            lambda: load_model(settings.model_dir, settings.max_model_bytes)
        )
        check_accepts_as_much(self._state.model.manifest.signature, loaded.manifest.signature)
        new = await warm_model(loaded, settings, self._state.metrics)
        old, self._state.model = self._state.model, new
        return old.retire()  # type: ignore[no-any-return]

    async def _wait_for(self, ended: Callable[[], bool]) -> None:
        settings = self._settings
        deadline = time.monotonic() + settings.body_timeout + settings.request_timeout
        while not ended() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)


async def in_a_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns or raises. The thread keeps no process alive, as an executor's would."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            tell, result = answer.set_result, call()
        except BaseException as error:
            tell, result = answer.set_exception, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_tell, answer, tell, result)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await answer


def _tell(answer: asyncio.Future[Any], tell: Callable[[Any], None], result: Any) -> None:
    if not answer.done():
        tell(result)


def name_of(model: Model) -> str:
    """Name and version, as log lines have them."""
    return f"{model.manifest.name} {model.manifest.version}"
