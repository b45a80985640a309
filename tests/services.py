"""Rendered services in processes of their own, models for them, and clients that never let up."""

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from . import processes
from .conftest import clean_environment

PATIENCE = 60.0
OK = 200

FIT = """
import csv, sys, joblib, numpy as np
from pathlib import Path
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
kind, out = sys.argv[1], Path(sys.argv[2])
random = np.random.default_rng(0)
rows = random.random((60_000, 4)) + 1
if kind == "forest":
    model = RandomForestRegressor(n_estimators=20, random_state=0).fit(rows, random.random(60_000))
else:
    model = LinearRegression(fit_intercept=False).fit(rows, rows[:, 0] * float(kind))
joblib.dump(model, out / "model.joblib")
with (out / "rows.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["a", "b", "c", "d"], *rows[:50].tolist()])
"""


def package(environment: Path, out: Path, kind: str) -> Path:
    """Fit and package a model. kind: `forest`, about 110 MiB in memory, or the number by which
    the model multiplies its first column, which is its version too."""
    out.mkdir(parents=True)
    version = "1" if kind == "forest" else kind
    processes.run([environment / "python", "-c", FIT, kind, out], check=True)
    processes.run(
        [environment / "iris-service", "model", "package", out / "model.joblib"]
        + ["--examples", out / "rows.csv", "--version", version, "--model-dir", out / "model"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
    )
    return out / "model"


def address_of(service: "subprocess.Popen[str]") -> str:
    """The URL that a service logs once it listens: what it logs then has to be read by others.

    service: its log, as text, goes to a pipe.
    """
    printed = ""
    for line in service.stderr:
        printed += line
        if found := re.search(r"listening on (http://[\d.:]+)", line):
            return found[1]
    raise AssertionError(f"the service ended:\n{printed}")


class Service:
    """`serve` in a session of its own: `with Service(environment, model, workers=2) as service`.

    Entering waits until it listens, unless it was told not to.
    """

    def __init__(
        self,
        environment: Path,
        model: Path,
        *,
        wait: bool = True,
        command: Sequence[object] = (),
        variables_besides: dict[str, str] | None = None,
        **settings: object,
    ) -> None:
        variables = {f"SERVING_{name.upper()}": str(value) for name, value in settings.items()}
        variables = {"SERVING_PORT": "0", **variables}
        variables |= {"SERVING_MODEL_DIR": str(model), "SERVING_LOG_FORMAT": "json"}
        self._command = command or [environment / "iris-service", "serve"]
        self._environment = clean_environment(**variables, **(variables_besides or {}))
        self._wait = wait
        self.log: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self.process = processes.start(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self._wait:
            self.port = int(re.search(r":(\d+)$", self.wait_for("listening on")["message"])[1])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in [self.process.pid, *self.group()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.ended()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def wait_for(self, text: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait until the log has a line that holds `text`; return the first."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [line for line in list(self.log) if text in line["message"]]
            assert found or self.process.poll() is None, f"the service ended: {self.log}"
            return bool(found)

        wait_until(there, patience)
        return found[0]

    def said(self) -> list[str]:
        """The messages of the log that are no requests."""
        return [line["message"] for line in self.log if line["logger"] != "access"]

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(patience)
        self._reader.join(patience)
        self.process.stderr.close()
        return code

    def group(self) -> list[int]:
        """Every process of the service that is left."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid and fields[0] != "Z":
                found.append(int(folder.name))
        return found

    def named(self, name: str) -> list[int]:
        """Process ids of the service's processes that `ps -o comm` calls so, the oldest first."""
        return sorted(pid for pid in self.group() if comm(pid).startswith(name))

    def memory(self, copies: int = 1) -> int:
        """Bytes of all processes, shared ones counted once; or of so many copies of the service,
        which share what is mapped from files."""
        rollups = "".join(read(f"/proc/{pid}/smaps_rollup") for pid in self.group())
        total = sum(map(int, re.findall(r"^Pss: +(\d+)", rollups, re.M)))
        own = sum(map(int, re.findall(r"^Pss_Anon: +(\d+)", rollups, re.M)))
        return 1024 * (total + (copies - 1) * own)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body, by a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, sample: str) -> float:
        """The value of a sample, by its name and labels as they are written; 0 where the worker
        that answers knows of none yet."""
        text = self.get("/metrics")[1]
        assert f"# TYPE {sample.partition('{')[0].removesuffix('_total')}" in text, sample
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0


class Answer(NamedTuple):
    """What a client got: status 0 where the connection failed. worker: what its ids begin with."""

    status: int
    value: float
    version: str
    worker: str


class HasPort(Protocol):
    """What clients can ask: a service, or a load balancer before several."""

    port: int


class Clients:
    """Threads that ask without pause, each over a connection that it keeps until told to close, or
    each request over a fresh one. They end by themselves after two minutes."""

    def __init__(
        self,
        service: HasPort,
        count: int,
        row: Sequence[float] = (1.5, 1.25, 1.75, 1.0),
        *,
        keep_alive: bool = True,
    ) -> None:
        self._service = service
        self._body = json.dumps({"instances": [row]})
        self._headers = {"Content-Type": "application/json"}
        if not keep_alive:
            self._headers["Connection"] = "close"
        self._end = time.monotonic() + 2 * PATIENCE
        self.answers: list[list[Answer]] = [[] for _ in range(count)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(a,)) for a in self.answers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let every client ask no more after the answer that it awaits."""
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(PATIENCE)

    def all(self) -> list[Answer]:
        return [answer for answers in self.answers for answer in list(answers)]

    def wait_for(self, more: int) -> None:
        """Wait until every client has got so many more answers."""
        goals = [len(answers) + more for answers in self.answers]
        wait_until(lambda: all(len(a) >= goal for a, goal in zip(self.answers, goals, strict=True)))

    def _ask(self, answers: list[Answer]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=PATIENCE)
        worker = ""
        while not self._stop.is_set() and time.monotonic() < self._end:
            try:
                connection.request("POST", "/predict", self._body, self._headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                answers.append(Answer(0, 0.0, "", worker))
                connection.close()
                continue
            document = json.loads(body) if answer.status == OK else {}
            worker = answer.headers.get("X-Request-ID", "").partition("-")[0]
            (value,) = document.get("predictions", [0.0])
            version = document.get("model", {}).get("version", "")
            answers.append(Answer(answer.status, value, version, worker))
            if connection.sock is None:
                worker = ""  # the next request opens another connection
        connection.close()


def wait_until(condition: Any, patience: float = PATIENCE) -> float:
    """Wait until a condition holds; return how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - started


def comm(pid: int) -> str:
    return read(f"/proc/{pid}/comm").strip()


def read(path: str) -> str:
    """A file of /proc; nothing if the process has ended."""
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""
