"""The process that loads the model for all workers, and forks them from its clean copy.

Workers share the loader's memory pages until one of them writes to a page. So everything is
imported, loaded, trimmed and frozen before the first fork, and the loader itself serves nothing.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from socket import socket

from ..errors import ModelError, StartupError
from ..heap import freeze_heap
from ..inference.observers.record_settings import check_columns
from ..inference.observers.shadow import NOT_USED, USED, load_compatible
from ..model_files.manifest import read_manifest
from ..model_files.read_artifact import VerifiedCopies
from ..runtimes.load import build_model, owner_code, read_model
from ..runtimes.registry import find_runtime
from ..schema.compatibility import check_accepts_as_much
from ..schema.signature import Signature
from ..service import Service
from ..settings import ServingSettings
from .fork import fork_grandchild, other_threads
from .loader_channel import LoaderChannel
from .memory_report import anonymous_bytes
from .scoreboard import Scoreboard, Slot, State
from .server import import_event_loop
from .shadow_trial import Load, try_to_load
from .worker import serve_as_worker

FORK_RETRY_INTERVAL = 0.5

logger = logging.getLogger("server")


def load_and_fork(
    service: Service,
    settings: ServingSettings,
    scoreboard: Scoreboard,
    listeners: Sequence[socket],
    *,
    slot: Slot,
    channel: LoaderChannel,
    replaced: LoaderChannel | None,
    supervisor: int,
) -> None:
    """Load the model, then fork workers as requested until the supervisor closes the pipe.

    slot: the loader's own. replaced: the channel of the generation whose model this one replaces.
    supervisor: its process id.
    Raises ModelError if the model may not be served or may not replace the other; StartupError if
    an import has started threads, or if a setting of the record names a column that is unknown.
    """
    manifest = read_manifest(settings.model_dir)  # before the imports: its errors come at once
    if settings.record_dir is not None:
        check_columns(manifest.signature.columns, settings)
    create_app = service.import_create_app()
    code = owner_code(settings)
    if manifest.probes.fork_safe:
        find_runtime(manifest.artifact.format).import_libraries(code)
    import_event_loop()
    before = anonymous_bytes("self")
    started = time.perf_counter()
    manifest, files = read_model(settings.model_dir, settings.max_model_bytes)
    loaded = None
    if manifest.probes.fork_safe:
        loaded = build_model(manifest, files, started, code)
        files = None  # no worker needs them, and they may be as large as the model
    elif isinstance(files, VerifiedCopies):
        files.detach()  # each worker loads them, also after this process has ended
    signature = manifest.signature
    shadow = _shadow(settings, signature)
    if replaced is not None:
        served = Signature.model_validate(replaced.read_record()["signature"])
        check_accepts_as_much(served, signature)
    freeze_heap()
    threads = other_threads()
    if threads:
        raise StartupError(
            f"a library of the model has started threads ({', '.join(threads)}), which a fork does "
            "not copy. Set SERVING_WORKERS=1."
        )
    channel.write_record(manifest)
    slot.model_bytes = max(0, anonymous_bytes("self") - before)
    slot.state = State.LOADED

    def heartbeat() -> None:
        slot.heartbeats += 1

    for number, listener in channel.requests(heartbeat):

        def run(number: int = number, listener: int = listener) -> None:
            model = loaded
            if model is None:
                model = build_model(manifest, files, time.perf_counter(), code)
                slot.model_bytes = max(0, anonymous_bytes("self") - before)
            app = create_app(settings, replace(model, shadow=shadow))
            serve_as_worker(app, settings, scoreboard, number, listeners[listener])

        def record_pid(pid: int, number: int = number) -> None:
            scoreboard.slots[number].pid = pid

        while True:
            try:
                fork_grandchild(run, supervisor, f"worker {listener}", record_pid)
                break
            except OSError as error:  # no memory, or too many processes: that may pass
                logger.error("cannot fork worker %d: %s", listener, error.strerror)  # noqa: TRY400
                heartbeat()
                time.sleep(FORK_RETRY_INTERVAL)


def _shadow(settings: ServingSettings, signature: Signature) -> Load | None:
    """The shadow model of all workers, or its error; None if each worker loads its own."""
    directory = settings.shadow_model_dir
    if directory is None:
        return None
    try:
        if not read_manifest(directory).probes.fork_safe:
            return None
    except ModelError:
        pass  # the trial fails with the same error
    # Half of the time for the loader: it must not be killed for its shadow.
    timeout = settings.load_timeout / 2
    load = try_to_load(partial(load_compatible, settings, signature), timeout)
    try:
        shadow = load().manifest
    except ModelError as error:
        logger.error(NOT_USED, directory, error)  # noqa: TRY400
    else:
        logger.info(USED, shadow.name, shadow.version)
    return load
