"""Shows the rows and outputs of every request to the record and to the shadow model."""

import logging
import time
from functools import partial

from ...runtimes.base import LoadedModel
from ...schema.predictions import Outputs
from ...schema.request_parser import Rows
from ...settings import ServingSettings
from ...telemetry.metrics import Metrics
from ...telemetry.request_context import current_request
from .recorder import Recorder, Seen, ShadowOutputs
from .shadow import Shadow, load_compatible

logger = logging.getLogger(__name__)


class Observers:
    """Called in the event loop with each request that was predicted; it never waits or raises.

    recorder, shadow: None if there is none. hangs_after: see `Shadow`.
    Raises StartupError if a setting names a column that the model does not have.
    """

    def __init__(
        self, loaded: LoadedModel, settings: ServingSettings, metrics: Metrics, hangs_after: float
    ) -> None:
        self._recorder = self._shadow = None
        counts = metrics.observers
        if settings.record_dir is not None:
            self._recorder = Recorder(loaded, settings, counts)
        if settings.shadow_model_dir is not None:
            signature = loaded.manifest.signature
            self._shadow = Shadow(
                signature,
                loaded.shadow or partial(load_compatible, settings, signature),
                settings,
                counts,
                hangs_after=hangs_after,
                quiet=loaded.shadow is not None,
                compared=self._record,
            )
        self._failed = False

    def __call__(self, rows: Rows, outputs: Outputs) -> None:
        """Show one request, without the errors of the observers."""
        try:
            self._show(rows, outputs)
        except Exception:
            if not self._failed:
                self._failed = True
                logger.exception("the record or the shadow model fails")

    def _show(self, rows: Rows, outputs: Outputs) -> None:
        recorder = self._recorder
        recorded = recorder.sample(len(outputs)) if recorder is not None else 0
        if not recorded and self._shadow is None:
            return
        context = current_request.get()
        request_id = context.request_id if context is not None else ""
        seen = Seen(rows.values, outputs, recorded, request_id, time.time())
        if self._shadow is None or not self._shadow.offer(seen):
            self._record(seen, None)

    def _record(self, seen: Seen, shadow: ShadowOutputs | None) -> None:
        if seen.recorded and self._recorder is not None:
            self._recorder.offer(seen, shadow)

    def end(self) -> None:
        """End the threads after what is queued, without waiting."""
        for observer in (self._shadow, self._recorder):
            if observer is not None:
                observer.end()

    def close(self) -> None:
        """End the threads; wait for the last rows of the record, for 2 seconds at most."""
        if self._shadow is not None:
            self._shadow.end()
        if self._recorder is not None:
            self._recorder.close()


def observers_of(
    loaded: LoadedModel, settings: ServingSettings, metrics: Metrics, hangs_after: float
) -> Observers | None:
    """The observers that the settings ask for; None if they ask for none. See `Observers`."""
    if settings.record_dir is None and settings.shadow_model_dir is None:
        return None
    return Observers(loaded, settings, metrics, hangs_after)
