"""The service itself, in a process of its own, for as long as it is measured."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ...errors import StartupError

_LISTENING = "listening on "
_MEMORY = "memory"


@dataclass(frozen=True)
class OwnService:
    """A service that listens.

    seconds: from the start of its process until it listened. memory: the fields of its memory
    report, if it was asked for several workers and the system tells.
    """

    url: str
    pid: int
    seconds: float
    memory: dict[str, Any]


@contextmanager
def own_service(package: str, model_dir: Path, **variables: object) -> Iterator[OwnService]:
    """Run `serve` on a free port of this machine, with the settings of the environment.

    variables: of the environment, which replace others. Yields when it listens. Raises
    StartupError with its last line if it ends before.
    """
    changed = {
        "SERVING_HOST": "127.0.0.1",
        "SERVING_PORT": "0",
        "SERVING_LOG_FORMAT": "json",
        "SERVING_LOG_LEVEL": "info",  # of the line that tells the URL
        **{name: str(value) for name, value in variables.items()},
    }
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", package, "serve", "--model-dir", str(model_dir)],
        env=os.environ | changed,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stderr = cast(IO[str], process.stderr)
        reader = threading.Thread(target=stderr.read, daemon=True)
        try:
            url = _url(stderr)
            seconds = time.perf_counter() - began
            memory = _memory_report(stderr) if changed.get("SERVING_WORKERS", "1") != "1" else {}
            reader.start()  # else the service waits when the pipe is full
            yield OwnService(url, process.pid, seconds, memory)
        finally:
            process.kill()  # no client is left, so that there is nothing to drain
            if reader.ident is not None:
                reader.join()


def _url(log: IO[str]) -> str:
    """The URL that a service logs when it listens. Raises StartupError if it ends before."""
    message = "it printed nothing"
    for line in log:
        message = _fields(line)["message"] or message
        if message.startswith(_LISTENING):
            return message.removeprefix(_LISTENING)
    raise StartupError(message.removeprefix("error: "))


def _memory_report(log: IO[str]) -> dict[str, Any]:
    """The memory report, which several workers log once they listen."""
    for line in log:
        fields = _fields(line)
        if fields["message"].startswith(_MEMORY):
            return fields
    return {}


def _fields(line: str) -> dict[str, Any]:
    """The fields of a line of the log; what is no such line is a message itself."""
    with suppress(ValueError, KeyError, TypeError):
        fields: dict[str, Any] = json.loads(line)
        return {**fields, "message": str(fields["message"])}
    return {"message": line.strip()}
