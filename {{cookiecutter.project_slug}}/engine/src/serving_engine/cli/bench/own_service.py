"""The service itself, in a process of its own, for as long as it is measured."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import IO, Self, cast

from ...errors import StartupError

_LISTENING = "listening on "


class OwnService:
    """`serve` on a free port of this machine, with the settings of the environment.

    Entering it waits until the service listens. Raises StartupError with its last line if it ends.
    """

    def __init__(self, package: str, model_dir: str) -> None:
        self._command = [sys.executable, "-m", package, "serve", "--model-dir", model_dir]
        self.url = ""

    def __enter__(self) -> Self:
        changed = {"SERVING_HOST": "127.0.0.1", "SERVING_PORT": "0", "SERVING_LOG_FORMAT": "json"}
        self._process = subprocess.Popen(  # noqa: S603 - this program
            self._command, env=os.environ | changed, stderr=subprocess.PIPE, text=True
        )
        stderr = cast(IO[str], self._process.stderr)
        last = "it printed nothing"
        for line in stderr:
            message = _message(line)
            last = message or last
            if message.startswith(_LISTENING):
                self.url = message.removeprefix(_LISTENING)
                break
        else:
            self._end()
            raise StartupError(last.removeprefix("error: "))
        self._reader = threading.Thread(target=stderr.read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # no client is left, so that there is nothing to drain
        self._reader.join()
        self._end()

    def _end(self) -> None:
        with self._process:
            pass


def _message(line: str) -> str:
    """The message of a line of the log; what is no such line is a message itself."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(line)["message"])
    return line.strip()
