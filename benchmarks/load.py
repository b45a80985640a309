"""Load from wrk, and the proof that what is measured answers rightly."""

import json
import math
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from processes import adopt_orphans, cpu_seconds, end, memory, new_mark, pin, processes_of
from servers import BASE, Server

START_PATIENCE = 120.0
VERIFIED_ROWS = 32


class Figures(NamedTuple):
    """One measurement: requests/s, milliseconds at the median and the 99th percentile, failures,
    and how many requests were answered."""

    rate: float
    p50: float
    p99: float
    failed: int
    requests: int


class Running(NamedTuple):
    """A server that runs. ready: seconds from its start until it answered."""

    process: subprocess.Popen[bytes]
    mark: dict[str, str]
    ready: float

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.process.pid

    def memory(self) -> float:
        """MiB that all its processes hold, what they share counted once (PSS)."""
        return memory(processes_of(self.process, self.mark))

    def idle_cpu(self, seconds: float = 3.0) -> float:
        """Percent of a core that it takes when nobody asks it anything."""
        folders = processes_of(self.process, self.mark)
        before = cpu_seconds(folders)
        time.sleep(seconds)
        return (cpu_seconds(folders) - before) / seconds * 100


@contextmanager
def running(
    command: str,
    variables: dict[str, str],
    ready: str,
    log: Path,
    core: str,
    base: str = BASE,
    free_start: bool = False,
) -> Iterator[Running]:
    """A server pinned to a core, from its start or from when it is ready (`free_start`)."""
    adopt_orphans()
    mark = new_mark()
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*([] if free_start else ["taskset", "-c", core]), *shlex.split(command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
            env={**os.environ, **variables, **mark},
        )
    try:
        while not answers(base + ready):
            if process.poll() is not None or time.perf_counter() - started > START_PATIENCE:
                raise RuntimeError(f"did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        if free_start:
            pin(processes_of(process, mark), core)
        yield Running(process, mark, seconds)
    finally:
        end(process, mark)


def answers(url: str) -> bool:
    """Whether the server answers at the URL: 404 and 503 mean that it is not ready."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError as error:
        return error.code not in {404, 503}
    except OSError:
        return False
    return True


def verify(
    server: Server, bodies: list[str], expected: list[list[float]], base: str = BASE
) -> None:
    """Raise RuntimeError unless the scores of the model itself are in the answers."""
    step = max(1, len(bodies) // VERIFIED_ROWS)
    for body, scores in list(zip(bodies, expected, strict=True))[::step]:
        request = urllib.request.Request(
            base + server.predict,
            body.encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            document = json.load(response)
        if not holds(document, scores):
            found = list(numbers(document))
            raise RuntimeError(f"{server.name}: expected {scores}, found {found[:8]}")


def holds(document: Any, scores: list[float]) -> bool:
    """Whether every score is among the numbers of a decoded JSON document."""
    found = list(numbers(document))
    return all(any(abs(score - number) < 1e-4 for number in found) for score in scores)


def numbers(value: Any) -> Iterator[float]:
    """Every number in a decoded JSON value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def read_rows(data: Path, model: str) -> tuple[list[Any], list[list[float]]]:
    """The rows that a model is asked for, and its own answers to them; models.py wrote both."""
    names = rows_of(model, "json"), f"{model}-answers.json"
    rows, answers = (json.loads((data / name).read_text(encoding="utf-8")) for name in names)
    return rows, answers


def rows_of(model: str, kind: str) -> str:
    """The file of the rows that the model is asked for."""
    return f"{'mixed-' if model == 'mixed' else ''}rows.{kind}"


def write_script(path: Path, bodies: list[str]) -> Path:
    """A wrk script that posts the bodies in turn and prints one line of figures."""
    quoted = ",\n".join(f"[==[{body}]==]" for body in bodies)
    path.write_text(
        f"""wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests, turn = {{}}, 0
function init()
  for i, body in ipairs({{{quoted}}}) do requests[i] = wrk.format(nil, nil, nil, body) end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("FIGURES %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status + e.timeout + e.read + e.write + e.connect, summary.requests))
end
""",
        encoding="utf-8",
    )
    return path


def measure(
    path: str, script: Path, connections: int, seconds: float, core: str, base: str = BASE
) -> Figures:
    """Load the server for `seconds`, rounded up: wrk takes no others."""
    duration = f"-d{math.ceil(seconds)}s"
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{connections}", duration]
    ended = subprocess.run(
        [*command, "-s", str(script), base + path], capture_output=True, text=True, check=True
    )
    line = next(line for line in ended.stdout.splitlines() if line.startswith("FIGURES"))
    rate, p50, p99, failed, requests = map(float, line.split()[1:])
    return Figures(rate, p50, p99, int(failed), int(requests))
