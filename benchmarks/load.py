"""Load from wrk, and the proof that what is measured answers rightly."""

import json
import math
import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

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


@contextmanager
def running(
    command: str,
    variables: dict[str, str],
    ready: str,
    log: Path,
    core: str,
    base: str = BASE,
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server pinned to a core; yields its process and the seconds from start to ready."""
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", core, *shlex.split(command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
            env={**os.environ, **variables},
        )
    try:
        while not answers(base + ready):
            if process.poll() is not None or time.perf_counter() - started > START_PATIENCE:
                raise RuntimeError(f"did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process, time.perf_counter() - started
    finally:
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sig)
                process.wait(8)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def answers(url: str) -> bool:
    """Whether the server answers at the URL with anything but 503."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError as error:
        return error.code != 503
    except OSError:
        return False
    return True


def verify(
    server: Server, bodies: list[str], expected: list[list[float]], base: str = BASE
) -> None:
    """Raise RuntimeError unless the probabilities of the model itself are in the answers."""
    step = max(1, len(bodies) // VERIFIED_ROWS)
    for body, scores in list(zip(bodies, expected, strict=True))[::step]:
        request = urllib.request.Request(
            base + server.predict,
            body.encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            found = list(numbers(json.load(response)))
        if not all(any(abs(score - number) < 1e-4 for number in found) for score in scores):
            raise RuntimeError(f"{server.name}: expected {scores}, found {found[:8]}")


def numbers(value: Any) -> Iterator[float]:
    """Every number in a decoded JSON value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


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


def group(process: subprocess.Popen[bytes]) -> list[Path]:
    """The /proc folders of a server's processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == process.pid:
                found.append(folder)
    return found


def memory(process: subprocess.Popen[bytes]) -> float:
    """MiB that a server's processes hold, what they share counted once (PSS)."""
    kibibytes = 0
    for folder in group(process):
        rollup = (folder / "smaps_rollup").read_text()
        kibibytes += int(rollup.split("\nPss:")[1].split()[0])
    return kibibytes / 1024


def idle_cpu(process: subprocess.Popen[bytes], seconds: float = 3.0) -> float:
    """Percent of a core that a server takes when nobody asks it anything."""

    def ticks() -> int:
        times = [
            (folder / "stat").read_text().rpartition(")")[2].split() for folder in group(process)
        ]
        return sum(int(fields[11]) + int(fields[12]) for fields in times)

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds * 100


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
