"""The process that loads the model for all workers, and forks them from its clean copy.

Workers share its memory for as long as nobody writes to it. So everything is imported, loaded,
trimmed and frozen before the first fork, and nothing is served here.
"""

import json
import os
import sys
from collections.abc import Sequence
from socket import socket

from ..artifact.load import import_runtime, load_model
from ..artifact.manifest import read_manifest
from ..errors import StartupError
from ..schema.compatibility import check_accepts_as_much
from ..schema.signature import Signature
from ..settings import Settings
from .board import Board, State
from .crew import ImportApp
from .forked import ORDER
from .heap import settle_heap
from .memory import anonymous
from .processes import fork_grandchild, lost_in_fork
from .server import import_loop
from .worker import work

if sys.platform != "linux":
    raise ImportError("Linux only")


def load_and_fork(
    settings: Settings,
    import_app: ImportApp,
    board: Board,
    place: int,
    listeners: Sequence[socket],
    *,
    files: tuple[int, int, int | None],
    supervisor: int,
) -> None:
    """Load the model, then fork workers as ordered until the supervisor closes the pipe.

    files: a pipe with orders; a file for name, version and signature of the model; and that of the
    model which it is to replace, if any.
    Raises ModelError if the model may not be served or may not replace the other.
    """
    orders, record, replaced = files
    read_manifest(settings.model_dir)  # its errors wait for no import
    make_app = import_app()
    import_runtime()
    import_loop()
    before = anonymous("self")
    loaded = load_model(settings.model_dir, settings.max_model_bytes)
    signature = loaded.manifest.signature
    if replaced is not None:
        old = json.loads(os.pread(replaced, os.fstat(replaced).st_size, 0))
        check_accepts_as_much(Signature.model_validate(old["signature"]), signature)
    settle_heap()
    threads = lost_in_fork()
    if threads:
        raise StartupError(
            f"what the model imports has threads ({', '.join(threads)}), which workers that are "
            "forked would lose. Set SERVING_WORKERS=1."
        )
    said = loaded.manifest.model_dump_json(include={"name", "version", "signature"})
    os.write(record, said.encode())
    own = board.places[place]
    own.model_bytes = anonymous("self") - before
    own.state = State.LOADED
    while order := os.read(orders, ORDER.size):
        number, listener = ORDER.unpack(order)
        there = board.places[number]

        def run(number: int = number, listener: int = listener) -> None:
            work(make_app(settings, loaded), settings, board, number, listeners[listener])

        def tell(pid: int) -> None:
            there.pid = pid  # noqa: B023 - called before the next turn

        fork_grandchild(run, supervisor, f"worker {listener}", tell)
