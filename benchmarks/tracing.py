"""What traces cost: one service with 1 % of its requests sampled, beside itself without traces.

    make bench ARGS=--tracing
    make bench ARGS='--tracing --models logreg --connections 32 --rounds 9'

Both have the extra `trace` installed; one has the variables that name a collector, which is a small
program on the core of the load. A third pays for the headers of callers that sample nothing: every
request has a `traceparent`, and no collector is named.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from load import Figures, measure, running, verify, write_script
from report import ratio
from servers import Server

SERVER_CORE, LOAD_CORE = "0", "1"
SHARE = "0.01"
WITHOUT, SAMPLED, UNSAMPLED = "without traces", "1 % sampled", "traceparent, not sampled"
HEADER = 'wrk.headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"\n'
COLLECTOR = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print(size, flush=True)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

Found = dict[tuple[str, int], list[Figures]]


def measure_tracing(
    arguments: argparse.Namespace,
    service: Server,
    data: Path,
    packaged: dict[str, Path],
    scratch: Path,
) -> None:
    """Measure every variant in every round; print, and write if that is asked for.

    service: has the extra `trace`. packaged: the model directories, by model.
    """
    tables = []
    for model, directory in packaged.items():
        found: Found = {}
        for number in range(arguments.rounds):
            order = [WITHOUT, SAMPLED, UNSAMPLED]
            for name in order if number % 2 == 0 else order[::-1]:
                measure_variant(name, arguments, service, data, model, directory, scratch, found)
        tables += rows_of(model, found)
    report = "\n".join(header(arguments) + tables) + "\n"
    print(report)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(report, encoding="utf-8")


def measure_variant(
    name: str,
    arguments: argparse.Namespace,
    service: Server,
    data: Path,
    model: str,
    directory: Path,
    scratch: Path,
    found: Found,
) -> None:
    """Start the service, measure it at each number of connections, and add the figures."""
    rows = json.loads((data / "rows.json").read_text(encoding="utf-8"))
    expected = json.loads((data / f"{model}-answers.json").read_text(encoding="utf-8"))
    bodies = [service.body(row) for row in rows]
    script = write_script(scratch / "load.lua", bodies)
    if name == UNSAMPLED:
        lines = script.read_text(encoding="utf-8")
        script.write_text(HEADER + lines, encoding="utf-8")
    with collector(scratch / "collected") as port:
        variables = service.variables | {"SERVING_MODEL_DIR": str(directory)}
        if name == SAMPLED:
            variables |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": SHARE,
            }
        server = replace(service, variables=variables)
        log = scratch / "server.log"
        with running(server.command, variables, server.ready, log, SERVER_CORE):
            verify(server, bodies, expected)
            measure(server.predict, script, 8, 2, LOAD_CORE)
            for count in arguments.connections:
                figures = measure(server.predict, script, count, arguments.seconds, LOAD_CORE)
                found.setdefault((name, count), []).append(figures)
                print(f"{model} {name:25} {count:4} connections {figures}", flush=True)
    received = (scratch / "collected").read_text(encoding="utf-8").split()[1:]
    if bool(received) != (name == SAMPLED):
        raise RuntimeError(f"{name}: the collector received {len(received)} messages")


@contextmanager
def collector(log: Path) -> Iterator[int]:
    """A collector on the core of the load; yields its port. log: the size of every message."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-c", COLLECTOR]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output)
    try:
        while not (port := log.read_text(encoding="utf-8")).endswith("\n"):
            if process.poll() is not None:
                raise RuntimeError("the collector did not start")
        yield int(port)
    finally:
        process.terminate()
        process.wait()


def header(arguments: argparse.Namespace) -> list[str]:
    return [
        "# Traces",
        "",
        f"    make bench ARGS='--tracing --rounds {arguments.rounds} --seconds "
        f"{arguments.seconds:g} --write'",
        "",
        "Medians; one process on one core, wrk and the collector on another. The ratio is the "
        "median of the rounds', to the service without traces.",
        "",
        "| model | connections | variant | requests/s | p99 (ms) | ratio |",
        "|---|---|---|---|---|---|",
    ]


def rows_of(model: str, found: Found) -> list[str]:
    rows = []
    for (name, connections), figures in found.items():
        to_without = ratio(figures, found[WITHOUT, connections], "rate")
        rate = statistics.median(each.rate for each in figures)
        p99 = statistics.median(each.p99 for each in figures)
        cells = [f"{rate:,.0f}", f"{p99:.2f}", f"{to_without:.3f}"]
        rows.append(f"| {model} | {connections} | {name} | {' | '.join(cells)} |")
    return rows
