"""The channel of the supervisor and a loader: a pipe for requests, and a record of the model."""

import json
import os
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Self

from ..model_files.manifest import Manifest

_REQUEST = struct.Struct("=II")
"""Number of a worker's slot, and number of its socket."""

HEARTBEAT_INTERVAL = 0.25


class LoaderChannel:
    """Open files; both processes have them after the fork."""

    def __init__(self, record: int, requests_in: int, requests_out: int) -> None:
        self._record = record
        self._requests_in = requests_in
        self._requests_out = requests_out

    @classmethod
    def open(cls) -> Self:
        """Open the files. Raises OSError."""
        record = os.memfd_create("model")
        try:
            return cls(record, *os.pipe())
        except OSError:
            os.close(record)
            raise

    def request_worker(self, slot: int, listener: int) -> None:
        """Request a worker from the loader.

        slot: number of its slot. listener: number of its socket.
        """
        with suppress(BrokenPipeError):  # the loader has just ended: its exit is handled next
            os.write(self._requests_out, _REQUEST.pack(slot, listener))

    def requests(self, heartbeat: Callable[[], None]) -> Iterator[tuple[int, int]]:
        """Slot and listener of each worker to fork, until the supervisor closes the pipe.

        heartbeat: called again and again meanwhile.
        """
        poll = select.poll()
        poll.register(self._requests_in, select.POLLIN)
        while True:
            heartbeat()
            if poll.poll(HEARTBEAT_INTERVAL * 1000):
                request = os.read(self._requests_in, _REQUEST.size)
                if not request:
                    return
                yield _REQUEST.unpack(request)

    def write_record(self, manifest: Manifest) -> None:
        """Record name, version, signature and probes of the model."""
        text = manifest.model_dump_json(include={"name", "version", "signature", "probes"})
        os.write(self._record, text.encode())

    def read_record(self) -> dict[str, Any]:
        """Return the record of the model. Raises ValueError if the loader has not written it."""
        size = os.fstat(self._record).st_size
        record: dict[str, Any] = json.loads(os.pread(self._record, size, 0))
        return record

    def close_requests_in(self) -> None:
        """Close the loader's end, in the supervisor."""
        os.close(self._requests_in)

    def close_requests_out(self) -> None:
        """Close the supervisor's end, in the loader, so that the pipe ends with the supervisor."""
        os.close(self._requests_out)

    def close(self) -> None:
        """Close the files of the supervisor."""
        os.close(self._requests_out)
        os.close(self._record)
