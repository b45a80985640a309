"""The example service in a process of its own, for tests that need a real process."""

import ctypes
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from prometheus_client.parser import text_string_to_metric_families

ENGINE = Path(__file__).parents[1]
PACKAGE = "tests.example_service"
PATIENCE = 60.0

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""No service here uses TLS, and a client takes 20 ms to read the certificates that it trusts."""

SERVE = f"""
from serving_engine import Service, run_command_line
run_command_line(Service("{PACKAGE}"), ["serve"])
"""


class Service:
    """`serve` on a free port: `with Service(model_dir) as service: service.get("/readyz")`.

    arguments: of `serve`. patches: code that the process runs before it serves, in place of the
    command line; `arguments` are its `sys.argv[1:]`. package: of the service. settings: SERVING_
    variables.
    """

    ready = "listening on"
    """The text in the log, before the address, when the service listens."""

    def __init__(
        self,
        model_dir: Path,
        *arguments: str,
        patches: str = "",
        package: str = PACKAGE,
        **settings: object,
    ) -> None:
        program = ["-c", patches + SERVE] if patches else ["-m", package, "serve"]
        self._command = [sys.executable, *program, *arguments]
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
        self.process = self._start(subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _start(
        self, stderr: int, in_process: Callable[[], object] | None = None
    ) -> subprocess.Popen[str]:
        """Start the process. in_process: called in it before the command."""

        def prepare() -> None:
            die_with_parent()
            if in_process is not None:
                in_process()

        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=prepare if sys.platform != "win32" else None,
        )

    def __enter__(self) -> Self:
        self.start()
        address = re.search(r"http://127\.0\.0\.1:(\d+)", self.wait_for_line(self.ready))
        assert address
        self.port = int(address[1])
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
        if sys.platform == "win32":
            self.process.kill()
        else:
            with suppress(ProcessLookupError):  # the workers too, if their supervisor is gone
                os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait_for_line(self, text: str, patience: float = PATIENCE) -> str:
        """Wait until the log has a line with `text`; return it."""
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
        """Return the ids of the child processes with this name: `loader`, `worker 0`."""
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == self.process.pid and (folder / "comm").read_text() == f"{name}\n":
                    pids.append(int(folder.name))
        return pids

    def scrape(self) -> dict[tuple[str, ...], float]:
        """Return the metrics, by name and values of labels, over a new connection."""
        return samples(self.request("GET", "/metrics").text)

    def connect(self) -> httpx2.Client:
        """Return a client with connections of its own."""
        return httpx2.Client(base_url=self.url, timeout=PATIENCE, verify=NO_CERTIFICATES)

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send one request over a new connection: if there are several workers, to any of them."""
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


class Clients:
    """Clients that send predictions over new connections until /readyz no longer returns 200."""

    def __init__(self, service: Service, body: object, count: int = 4) -> None:
        self.statuses: list[int] = []
        self._service = service
        self._body = body
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all clients have ended."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "timeout"

    def _run(self) -> None:
        while self._service.request("GET", "/readyz").status_code == 200:
            response = self._service.request("POST", "/predict", json=self._body)
            self.statuses.append(response.status_code)


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the value of every sample, by its name and its label values in order of labels."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> float:
    """Wait until a condition holds; return the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience, "timeout"
        time.sleep(0.01)
    return time.monotonic() - started


def environment(**variables: object) -> dict[str, str]:
    """Return this process's variables without settings of the service, and `variables`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("SERVING_")
    }
    paths = os.pathsep.join(filter(None, [str(ENGINE), os.environ.get("PYTHONPATH")]))
    added = {name: str(value) for name, value in variables.items()}
    return {**inherited, "PYTHONPATH": paths, **added}


def run_script(script: str, *arguments: object) -> str:
    """Run a script to its end; return its output, errors included."""
    return _run(["-c", script, *map(str, arguments)], environment()).stdout


def run(*arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the service to its end; `stdout` is its output, errors included."""
    return _run(["-m", PACKAGE, *arguments], environment(**variables))


def _run(arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent ends. Linux only."""
    if sys.platform == "linux":
        set_death_signal = 1  # prctl(2), PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
