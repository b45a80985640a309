"""The model as handlers know it: batched, bounded, with a deadline for every request."""

import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any, TypeVar

from ..errors import PredictionFailed, RequestError
from ..memory import reserve
from ..runtimes.base import LoadedModel
from ..schema.predictions import Outputs, PredictionFormatter, Predictions
from ..schema.request_parser import RequestParser, Rows
from ..schema.signature import Signature
from ..settings import ServingSettings
from ..telemetry.metrics import Metrics
from ..telemetry.request_context import current_request
from .batcher import Batcher, QueueLimits
from .model_metrics import ModelMetrics
from .observers.observers import Observers, observers_of
from .prediction_threads import PredictionThreads

Adapter = TypeVar("Adapter")

STUCK_AFTER = 12
"""Default of the setting `stuck_timeout`, in request timeouts."""


class Model:
    """The value of `ModelDep` in a handler.

    A handler that awaits `predict` gets batching, admission and deadlines with it. `close` ends
    the prediction threads.
    """

    def __init__(self, loaded: LoadedModel, settings: ServingSettings, metrics: Metrics) -> None:
        self.manifest = manifest = loaded.manifest
        self.parser = RequestParser(manifest.signature, settings.max_rows)
        self.max_rows = settings.max_rows
        self._adapters: dict[object, Any] = {}
        self._timeout = settings.request_timeout
        self._format = PredictionFormatter(manifest.signature)
        self._identity = {"name": manifest.name, "version": manifest.version}
        self._batch_rows = settings.max_batch_rows if manifest.probes.row_independent else 1
        self._inline_seconds = settings.inline_seconds if loaded.bounded else 0.0
        self._threads = PredictionThreads(settings.threads if manifest.probes.thread_safe else 1)
        self._batcher = Batcher(
            loaded.predict,
            self._threads,
            QueueLimits(
                batch_rows=self._batch_rows,
                queued_rows=settings.max_queued_rows,
                queued_requests=settings.max_queued_requests,
                split=manifest.probes.row_independent,
            ),
            Metrics(),  # the warm-up is not counted
        )
        self._metrics = metrics
        self._count_values = settings.model_metrics
        stuck_timeout = settings.stuck_timeout or STUCK_AFTER * settings.request_timeout
        self._count_failed = partial(self._threads.failed, stuck_timeout)
        self._observers: Observers | None = None
        self._start_observers = partial(observers_of, loaded, settings, metrics, stuck_timeout)
        self._record_load = partial(
            metrics.model_loaded,
            manifest.name,
            manifest.version,
            loaded.seconds,
            self._count_failed,
        )

    @property
    def failed_threads(self) -> int:
        """The number of prediction threads that are lost, or stuck in a call."""
        return self._count_failed()

    @property
    def description(self) -> dict[str, Any]:
        """The document of `GET /model`: the manifest without examples and what was observed."""
        return self.manifest.model_dump(
            mode="json", exclude={"examples", "observed", "schema_version"}, exclude_none=True
        )

    async def predict(self, rows: Rows) -> Predictions:
        """Predict the rows of one request. Raises the errors of `outputs`.

        There is enough memory to write the predictions as JSON.
        """
        predictions = self._format(await self.outputs(rows))
        reserve(len(predictions) * self._format.bytes_per_row)
        return Predictions(predictions, self._identity)

    async def outputs(self, rows: Rows) -> Outputs:
        """Predict the rows of one request; return arrays, for protocols that send arrays.

        Raises QueueFull; DeadlineExceeded; NonFiniteOutput; PredictionFailed, whose cause is the
        model's exception; MemoryError.
        """
        timeout = min(rows.timeout or self._timeout, self._timeout)
        context = current_request.get()
        trace = None
        if context is not None:
            context.rows += len(rows)
            context.model_version = self.manifest.version
            if context.trace is not None and context.trace.recorded:
                trace = context.trace
        try:
            outputs = await self._batcher.predict(rows, timeout, trace)
        except (RequestError, MemoryError):
            raise
        except Exception as error:
            raise PredictionFailed("The model failed on this input.") from error
        if self._observers is not None:
            self._observers(rows, outputs)
        return outputs

    def adapter(self, kind: Callable[[Signature, int], Adapter]) -> Adapter:
        """Return a protocol's object for this signature and row limit; it is made once."""
        if kind not in self._adapters:
            self._adapters[kind] = kind(self.manifest.signature, self.max_rows)
        adapter: Adapter = self._adapters[kind]
        return adapter

    async def warm_up(self) -> None:
        """Predict the golden examples through the engine, so that the first request is not slow.

        The time of a full batch is measured too: it decides whether calls run in the event loop,
        if the model is one whose time depends on the number of rows alone. The record and the
        shadow model see the requests that come afterwards.
        Raises the errors of `predict`, and StartupError if the record's settings do not fit.
        """
        rows = self.manifest.example_rows
        for row in rows:
            await self.predict(Rows([row]))
        if self._inline_seconds:
            full = Rows(list(islice(cycle(rows), self._batch_rows)))
            seconds = min([await self._time(full) for _ in range(3)])
            if seconds <= self._inline_seconds:
                self._batcher.inline_seconds = self._inline_seconds
        self._begin_counting()
        self._observers = self._start_observers()
        self._record_load()

    def _begin_counting(self) -> None:
        observe = None
        if self._count_values:
            counter = ModelMetrics(self.manifest.signature, self._metrics.of_the_model)
            self._metrics.observe_model(counter.flush)
            observe = counter.observe
        self._batcher.record_in(self._metrics, observe)

    async def _time(self, rows: Rows) -> float:
        started = time.perf_counter()
        await self.predict(rows)
        return time.perf_counter() - started

    def retire(self) -> Callable[[], bool]:
        """End the prediction threads when no request uses this model any more.

        Returns a function that returns whether they have ended; until then they keep the model in
        memory.
        """
        weakref.finalize(self, self._threads.end)
        if self._observers is not None:
            weakref.finalize(self, self._observers.end)
        return self._threads.ended

    def close(self) -> None:
        """End the prediction threads after their queued work. Waits a second for each at most."""
        self._threads.close()
        if self._observers is not None:
            self._observers.close()


async def warm_model(loaded: LoadedModel, settings: ServingSettings, metrics: Metrics) -> Model:
    """Return a model that is warmed up. Raises the errors of `Model.warm_up`."""
    model = Model(loaded, settings, metrics)
    try:
        await model.warm_up()
    except BaseException:
        model.close()
        raise
    return model
