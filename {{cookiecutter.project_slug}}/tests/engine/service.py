"""A real service in a process of its own, for tests of what only a process shows."""

import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from prometheus_client.parser import text_string_to_metric_families

import {{ cookiecutter.__package_name }} as package

from .children import PATIENCE, Child

FORKED = sys.platform == "linux"
"""Whether processes begin with the imports already made."""

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here speaks TLS, and to read what a client would trust takes 20 ms."""


class Service:
    """`serve` on a free port: `with Service(model_dir) as service: service.get("/readyz")`."""

    ready = "listening on"
    """What its log says, before its address, when it serves."""

    def __init__(self, model_dir: Path, *arguments: str, **settings: object) -> None:
        self._command = [sys.executable, "-m", package.__name__, "serve", *arguments]
        self._environment = environment(
            SERVING_MODEL_DIR=model_dir,
            SERVING_PORT=0,
            SERVING_LOG_FORMAT="json",
            **{f"SERVING_{name.upper()}": value for name, value in settings.items()},
        )
        self.lines: list[str] = []
        self._arrived: queue.Queue[str | None] = queue.Queue()

    def start(self) -> Self:
        """Start the process without waiting for anything."""
        if not FORKED:
            self.process: Any = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        else:
            self.process = Child(self._command, self._environment)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __enter__(self) -> Self:
        self.start()
        line = self.wait_for_line(self.ready)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def wait_for_line(self, text: str, patience: float = PATIENCE) -> str:
        """Wait until the log has a line that holds `text`; return it."""
        deadline = time.monotonic() + patience
        while True:
            line = self._arrived.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, "the service ended:\n" + "\n".join(self.lines)
            if text in line:
                return line

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code."""
        self.process.send_signal(sig)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr
        self.process.stderr.close()
        return code

    def processes(self, name: str) -> list[int]:
        """Process ids of the children that are called so: `loader`, `worker 0`."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == self.process.pid and (folder / "comm").read_text() == f"{name}\n":
                    found.append(int(folder.name))
        return found

    def scrape(self) -> dict[tuple[str, ...], float]:
        """The metrics, by name and values of labels, as a new connection finds them."""
        return samples(self.ask("GET", "/metrics").text)

    def connect(self) -> httpx2.Client:
        """A client with connections of its own."""
        return httpx2.Client(base_url=self.url, timeout=PATIENCE, verify=NO_CERTIFICATES)

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request over a connection of its own: where several workers listen, to any."""
        with self.connect() as client:
            return client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def predict(self, instances: list[Any], **options: Any) -> httpx2.Response:
        return self.client.post("/predict", json={"instances": instances}, **options)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            self._arrived.put(line)
        self._arrived.put(None)


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample: its name, its label values by name of the label, and its value."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> float:
    """Wait until a condition holds; return how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - started


def environment(**variables: object) -> dict[str, str]:
    """This process's variables without settings of the service, and `variables`."""
    kept: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith("SERVING_")
    }
    return {**kept, **{name: str(value) for name, value in variables.items()}}


def run_script(script: str, *arguments: object) -> str:
    """Run a script to its end, with scikit-learn imported; what it printed, errors included."""
    return _run(["-c", script, *map(str, arguments)], environment()).stdout


def run(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the service to its end; what it printed, errors included, is `stdout`."""
    return _run(["-m", package.__name__, *arguments], environment(**variables))


def _run(words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    if not FORKED:
        return subprocess.run(
            command,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    child = Child(command, variables, output=True)
    overdue = threading.Timer(PATIENCE, child.kill)
    overdue.start()
    with child.stderr as printed:
        text = printed.read()
    overdue.cancel()
    return subprocess.CompletedProcess(command, child.wait(PATIENCE), text)
