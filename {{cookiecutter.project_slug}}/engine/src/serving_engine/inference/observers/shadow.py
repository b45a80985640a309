"""The shadow model: a second model that sees the same rows, and whose predictions are compared.

Whatever it does, the service answers as without it: its queue drops what does not fit, its thread
is one that nobody waits for, and its exceptions are counted.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from ...errors import ServiceExit, as_exception
from ...heap import freeze_objects
from ...runtimes.base import LoadedModel
from ...runtimes.load import load_shadow
from ...schema.predictions import Outputs, PredictionFormatter
from ...schema.request_parser import Rows, joined
from ...schema.signature import Signature
from ...settings import ServingSettings
from ...telemetry.observer_metrics import ObserverMetrics
from ...text import reason
from .agreement import Comparison
from .background import BackgroundThread
from .recorder import Seen, ShadowOutputs, copy_of

USED = "shadow model %s %s sees the same rows"
NOT_USED = "the shadow model in %s is not used: %s"

ROW_CHARACTERS = 4096
"""A text of this many characters counts as one more row in the queue."""
MAX_VIEWED = 64 * 1024

logger = logging.getLogger("shadow")

Load = Callable[[], LoadedModel]


class Shadow:
    """Predicts the rows of requests once more, off their path.

    signature: of the model. load: returns the shadow model; called in the thread. hangs_after:
    seconds after which a call counts as one that hangs. quiet: whether the log says already that it
    was loaded or was not. compared: gets every request with the shadow's outputs, or with None
    where there are none.
    """

    def __init__(
        self,
        signature: Signature,
        load: Load,
        settings: ServingSettings,
        metrics: ObserverMetrics,
        *,
        hangs_after: float,
        quiet: bool,
        compared: Callable[[Seen, ShadowOutputs | None], None],
    ) -> None:
        self._signature = signature
        self._load = load
        self._quiet = quiet
        self._texts = [n for n, column in enumerate(signature.inputs) if column.dtype == "string"]
        self._directory = settings.shadow_model_dir
        self._tolerance = settings.shadow_tolerance
        self._max_rows = settings.max_batch_rows
        self._metrics = metrics
        self._hangs_after = hangs_after
        self._compared = compared
        self._ready = False
        self._logged: set[str] = set()
        self._thread: BackgroundThread[Seen] = BackgroundThread(
            "shadow",
            self._predict,
            batch=settings.max_batch_rows,
            limit=settings.shadow_queued_rows,
            prepare=self._prepare,
        )

    def offer(self, seen: Seen) -> bool:
        """Predict rows later; return whether the shadow takes them. Never waits."""
        rows = len(seen.outputs)
        if not self._ready:
            self._metrics.shadow_dropped("not-loaded", rows)
            return False
        if self._thread.offer(self._own(seen), rows + self._characters(seen) // ROW_CHARACTERS):
            return True
        self._metrics.shadow_dropped("queue-full", rows)
        busy = self._thread.busy_seconds()
        if busy > self._hangs_after:
            self._log_once("hangs", f"it hangs in a call since {busy:.0f} s")
        return False

    def end(self) -> None:
        """Make the thread end after what is queued."""
        self._ready = False
        self._thread.end()

    def _characters(self, seen: Seen) -> int:
        if not self._texts:
            return 0
        return sum(len(str(row[n])) for row in seen.rows for n in self._texts)

    def _own(self, seen: Seen) -> Seen:
        """The same with a copy of the outputs, if they are a view that keeps much in memory."""
        probabilities = seen.outputs.probabilities
        base = None if probabilities is None else probabilities.base
        if base is None or base.nbytes <= MAX_VIEWED:
            return seen
        return replace(seen, outputs=copy_of(seen.outputs, len(seen.outputs)))

    def _prepare(self) -> None:
        try:
            loaded = self._load()
            signature = loaded.manifest.signature
            self._compare = Comparison(self._signature, signature, self._tolerance)
        except BaseException as error:
            if not self._quiet:
                text = str(error) if isinstance(error, ServiceExit) else reason(as_exception(error))
                logger.error(NOT_USED, self._directory, text)  # noqa: TRY400
            self._metrics.shadow_loaded(False)
            return
        self._model = loaded
        self._format = PredictionFormatter(signature)
        if not loaded.manifest.probes.row_independent:
            self._max_rows = 1
        if not self._quiet:  # it was loaded here, after the heap was frozen
            freeze_objects()
            logger.info(USED, loaded.manifest.name, loaded.manifest.version)
        self._ready = True
        self._metrics.shadow_loaded(True)

    def _predict(self, items: list[Seen]) -> None:
        """Predict requests together, up to a number of rows."""
        batch: list[Seen] = []
        rows = 0
        for seen in items:
            if batch and rows + len(seen.outputs) > self._max_rows:
                self._predict_batch(batch)
                batch, rows = [], 0
            batch.append(seen)
            rows += len(seen.outputs)
        self._predict_batch(batch)

    def _predict_batch(self, batch: list[Seen]) -> None:
        started = time.perf_counter()
        rows = sum(len(seen.outputs) for seen in batch)
        try:
            outputs = self._model.predict(joined([Rows(seen.rows) for seen in batch]))
            if len(outputs) != rows or not outputs.finite:
                raise ValueError("its outputs are not finite, or not one for each row")  # noqa: TRY301
            seconds = time.perf_counter() - started
            ours = Outputs.joined([seen.outputs for seen in batch])
            agreement = self._compare(ours, outputs)
        except BaseException as error:  # whatever the model raises, the thread lives on
            self._metrics.shadow_failed(rows)
            self._log_once("fails", f"it fails ({reason(as_exception(error))})")
            for seen in batch:
                self._compared(seen, None)
            return
        agreed = int(agreement.agreed.sum())
        self._metrics.shadow_differences(agreement.differences.tolist())
        self._metrics.shadow_compared(agreed, rows - agreed, seconds)
        start = 0
        for seen in batch:
            part = outputs.part(start, start + len(seen.outputs))
            version = self._model.manifest.version
            self._compared(seen, ShadowOutputs(version, part, self._format, seconds))
            start += len(seen.outputs)

    def _log_once(self, what: str, text: str) -> None:
        if what not in self._logged:
            self._logged.add(what)
            logger.error(
                "the shadow model in %s: %s. The service goes on; watch "
                "serving_shadow_rows_total and serving_shadow_dropped_total.",
                self._directory,
                text,
            )


def load_compatible(settings: ServingSettings, signature: Signature) -> LoadedModel:
    """Load the shadow of a model with this signature. Raises ModelError."""
    loaded = load_shadow(settings)
    Comparison(signature, loaded.manifest.signature, settings.shadow_tolerance)
    return loaded
