"""The model as handlers know it: batched, bounded, and able to say who it is."""

import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any, TypeVar

from ..artifact.load import LoadedModel
from ..errors import PredictionFailed, RequestError
from ..schema.answers import Answers, Outputs, Predictions
from ..schema.requests import RequestParser, Rows
from ..schema.signature import Signature
from ..settings import Settings
from ..telemetry.metrics import Metrics
from .batcher import Batcher, Bounds
from .threads import PredictionThreads

Adapter = TypeVar("Adapter")


class Model:
    """What `ModelDep` gives a handler.

    A handler that awaits `predict` gets batching, admission and deadlines with it. The loaded
    model is owned by the process that made it; `close` ends its threads.
    """

    def __init__(self, loaded: LoadedModel, settings: Settings, metrics: Metrics) -> None:
        self.manifest = manifest = loaded.manifest
        self.parser = RequestParser(manifest.signature, settings.max_rows)
        self.max_rows = settings.max_rows
        self._adapters: dict[Any, Any] = {}
        self._timeout = settings.request_timeout
        self._answers = Answers(manifest.signature)
        self._identity = {"name": manifest.name, "version": manifest.version}
        self._batch_rows = settings.max_batch_rows if manifest.probes.row_independent else 1
        self._inline_seconds = settings.inline_seconds
        self._threads = PredictionThreads(settings.threads if manifest.probes.thread_safe else 1)
        self._batcher = Batcher(
            loaded.predict,
            self._threads,
            Bounds(
                batch_rows=self._batch_rows,
                queued_rows=settings.max_queued_rows,
                queued_requests=settings.max_queued_requests,
            ),
            metrics,
        )
        self._announce = partial(
            metrics.model_loaded, manifest.name, manifest.version, loaded.seconds
        )

    @property
    def description(self) -> dict[str, Any]:
        """What `GET /model` tells: the manifest without its examples."""
        return self.manifest.model_dump(
            mode="json", exclude={"examples", "schema_version"}, exclude_none=True
        )

    async def predict(self, rows: Rows) -> Predictions:
        """Predict the rows of one request. Raises what `outputs` raises."""
        return Predictions(self._answers(await self.outputs(rows)), self._identity)

    async def outputs(self, rows: Rows) -> Outputs:
        """The same as arrays, for protocols that write those.

        Raises QueueFull and DeadlineExceeded as they are; PredictionFailed for whatever the model
        raised and for an answer that is not a finite number.
        """
        timeout = min(rows.timeout or self._timeout, self._timeout)
        try:
            return await self._batcher.predict(rows, timeout)
        except RequestError:
            raise
        except Exception as error:
            raise PredictionFailed("The model failed on this input.") from error

    def adapter(self, kind: Callable[[Signature, int], Adapter]) -> Adapter:
        """What a protocol makes of the signature and the row limit, made once for each model."""
        if kind not in self._adapters:
            self._adapters[kind] = kind(self.manifest.signature, self.max_rows)
        found: Adapter = self._adapters[kind]
        return found

    async def warm_up(self) -> None:
        """Predict the golden examples through the engine, so that the first caller pays nothing.

        A full batch is measured too: it decides whether calls need a thread at all.
        Raises what `predict` raises.
        """
        rows = self.manifest.example_rows
        for row in rows:
            await self.predict(Rows([row]))
        if self._inline_seconds:
            full = Rows(list(islice(cycle(rows), self._batch_rows)))
            seconds = min([await self._timed(full) for _ in range(3)])
            if seconds <= self._inline_seconds:
                self._batcher.inline_seconds = self._inline_seconds
        self._announce()

    async def _timed(self, rows: Rows) -> float:
        started = time.perf_counter()
        await self.predict(rows)
        return time.perf_counter() - started

    def retire(self) -> Callable[[], bool]:
        """End the prediction threads when the last request that holds this model lets it go.

        Returns what tells whether they have ended: a thread holds the model that it asked last.
        """
        weakref.finalize(self, self._threads.end)
        return self._threads.ended

    def close(self) -> None:
        """End the prediction threads after the work they have, as far as that is quick."""
        self._threads.close()


async def warm_model(loaded: LoadedModel, settings: Settings, metrics: Metrics) -> Model:
    """A model that has been asked before the first caller asks. Raises what `warm_up` raises."""
    model = Model(loaded, settings, metrics)
    try:
        await model.warm_up()
    except BaseException:
        model.close()
        raise
    return model
