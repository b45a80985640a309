"""The service itself, in a process of its own, for as long as it is measured."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from ...errors import StartupError

_LISTENING = "listening on "


@contextmanager
def own_service(package: str, model_dir: str) -> Iterator[str]:
    """Run `serve` on a free port of this machine, with the settings of the environment.

    Yields its URL when it listens. Raises StartupError with its last line if it ends before.
    """
    changed = {"SERVING_HOST": "127.0.0.1", "SERVING_PORT": "0", "SERVING_LOG_FORMAT": "json"}
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", package, "serve", "--model-dir", model_dir],
        env=os.environ | changed,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stderr = cast(IO[str], process.stderr)
        reader = threading.Thread(target=stderr.read, daemon=True)
        try:
            url = _url(stderr)
            reader.start()  # else the service waits when the pipe is full
            yield url
        finally:
            process.kill()  # no client is left, so that there is nothing to drain
            if reader.ident is not None:
                reader.join()


def _url(log: IO[str]) -> str:
    """The URL that a service logs when it listens. Raises StartupError if it ends before."""
    message = "it printed nothing"
    for line in log:
        message = _message(line) or message
        if message.startswith(_LISTENING):
            return message.removeprefix(_LISTENING)
    raise StartupError(message.removeprefix("error: "))


def _message(line: str) -> str:
    """The message of a line of the log; what is no such line is a message itself."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(line)["message"])
    return line.strip()
