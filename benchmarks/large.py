"""Large requests: 10,000 rows of 30 columns in one, as raw tensors and as JSON.

    make bench ARGS=--large                 against the bare call of the model
    make bench ARGS='--large --peers'       and against MLServer, which takes JSON

Raw tensors must take at most a tenth of the time of JSON to `/predict`, and at most 1.5 times what
the model itself takes. The service runs as it is shipped but for the two limits that the README
tells to raise. Each round starts each server afresh; medians over all rounds are printed.
"""

import argparse
import array
import http.client
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import servers
from load import running
from servers import OTHERS, PORT, Server, configure_mlserver, install

ROWS = 10_000
CALLS = 15
LIMITS = {"SERVING_MAX_BODY_BYTES": str(64 * 2**20), "SERVING_MAX_ROWS": str(ROWS)}

Found = dict[str, dict[str, float]]
"""Seconds, by model and by what was measured."""

BARE = """
import json, sys, time, joblib, numpy
model = joblib.load(sys.argv[1])
rows = numpy.resize(json.load(open(sys.argv[2])), (int(sys.argv[3]), 30))
for _ in range(int(sys.argv[4])):
    started = time.perf_counter()
    model.predict_proba(rows)
    print(time.perf_counter() - started)
"""


def measure_large(
    arguments: argparse.Namespace,
    work: Path,
    service: Server,
    packaged: dict[str, Path],
    scratch: Path,
    cores: tuple[str, str],
) -> Found:
    """Measure and print; return the median seconds by model and by what was measured.

    cores: that of the server, and that of the client.
    """
    medians: Found = {}
    os.sched_setaffinity(0, {int(cores[1])})
    rows = json.loads((work / "models" / "rows.json").read_text(encoding="utf-8"))
    large = (rows * (ROWS // len(rows) + 1))[:ROWS]
    binaries = Path(service.command.split()[0]).parent
    for model in arguments.models:
        found: dict[str, list[float]] = {}
        file = work / "models" / f"{model}.joblib"
        configure_mlserver(scratch / "mlserver", file)
        for _ in range(arguments.rounds):
            found.setdefault("bare call", []).extend(bare(binaries, file, work, cores[0]))
            variables = {**service.variables, **LIMITS, "SERVING_MODEL_DIR": str(packaged[model])}
            log = scratch / "server.log"
            with running(service.command, variables, service.ready, log, cores[0]):
                body, headers = raw_tensor(large)
                path = f"/v2/models/{model}/infer"
                found.setdefault("raw tensor", []).extend(timed(path, body, headers))
                plain = json.dumps({"instances": large}).encode()
                found.setdefault("JSON", []).extend(timed("/predict", plain, {}))
            if arguments.peers:
                found.setdefault("MLServer", []).extend(mlserver(work, scratch, large, cores[0]))
        medians[model] = {name: statistics.median(seconds) for name, seconds in found.items()}
        for name, median in medians[model].items():
            ratio = medians[model]["raw tensor"] / median
            print(f"{model} {name:10} {median * 1000:8.2f} ms, raw tensor / this {ratio:.2f}")
    return medians


def write_large(path: Path, found: Found, arguments: argparse.Namespace) -> None:
    """Write the table."""
    names = list(dict.fromkeys(name for medians in found.values() for name in medians))
    lines = [
        "# Large requests",
        "",
        f"`make bench ARGS=--large` with {arguments.rounds} rounds: {ROWS:,} rows of 30 columns in "
        "one request, milliseconds from sending it to having the answer; in brackets what raw "
        "tensors take as a part of that.",
        "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for name in names:
        cells = [
            f"{medians[name] * 1000:.1f} ({medians['raw tensor'] / medians[name]:.2f})"
            for medians in found.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def bare(binaries: Path, file: Path, work: Path, core: str) -> list[float]:
    """Seconds of calls of the model itself, on one thread as in the service."""
    rows = work / "models" / "rows.json"
    command = ["taskset", "-c", core, binaries / "python", "-c", BARE, file, rows]
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    printed = subprocess.check_output(
        [*command, str(ROWS), str(CALLS)], env={**os.environ, **single}, text=True
    )
    return [float(line) for line in printed.splitlines()]


def raw_tensor(rows: list[list[float]]) -> tuple[bytes, dict[str, str]]:
    """A request that has the rows as bytes, and asks for bytes."""
    values = array.array("d", [value for row in rows for value in row]).tobytes()
    tensor = {
        "name": "input",
        "datatype": "FP64",
        "shape": [len(rows), len(rows[0])],
        "parameters": {"binary_data_size": len(values)},
    }
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(asked).encode()
    return header + values, {"Inference-Header-Content-Length": str(len(header))}


def mlserver(work: Path, scratch: Path, rows: list[list[float]], core: str) -> list[float]:
    (server,) = [server for server in OTHERS if server.name == "MLServer"]
    places = {"bin": install(server, work), "peers": servers.PEERS, "port": PORT}
    command = server.command.format(**places, scratch=scratch / "mlserver")
    flat = [value for row in rows for value in row]
    tensor = {"name": "X", "shape": [len(rows), 30], "datatype": "FP64", "data": flat}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}).encode()
    with running(command, server.variables, server.ready, scratch / "mlserver.log", core):
        return timed(server.predict, body, {})


def timed(path: str, body: bytes, headers: dict[str, str]) -> list[float]:
    """Seconds from sending to having the answer, on one connection, the first few left out."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)

    def call() -> float:
        started = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {content[:300]!r}")
        return seconds

    return repeat(call)


def repeat(call: Callable[[], float]) -> list[float]:
    return [call() for _ in range(CALLS + 3)][3:]
