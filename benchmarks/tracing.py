"""What traces cost: one service with 1 % of its requests sampled, beside itself without traces.

    make bench ARGS='--tracing --models logreg --connections 32 --rounds 4'

All have the extra `trace` installed; one has the variables that name a collector, which is a small
program on the core of the load. A third pays for the headers of callers that sample nothing: every
request has a `traceparent`, and no collector is named. See paired.py for how they are compared.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from load import write_script
from paired import SECONDS, TURNS, Check, Load, Rounds, Variant, measure_round, table
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
    report = header(arguments)
    rows = json.loads((data / "rows.json").read_text(encoding="utf-8"))
    bodies = [service.body(row) for row in rows]
    script = write_script(scratch / "load.lua", bodies)
    with_header = scratch / "traceparent.lua"
    with_header.write_text(HEADER + script.read_text(encoding="utf-8"), encoding="utf-8")
    for model, directory in packaged.items():
        expected = json.loads((data / f"{model}-answers.json").read_text(encoding="utf-8"))
        check = Check(bodies, expected, script)
        for connections in arguments.connections:
            found: Rounds = {}
            for number in range(arguments.rounds):
                with collector(scratch / "collected") as port:
                    variants = variants_of(service, directory, port, script, with_header)
                    turned = list(variants.items())
                    turned = turned[number % len(turned) :] + turned[: number % len(turned)]
                    load = Load(connections, SERVER_CORE, LOAD_CORE)
                    measure_round(dict(turned), check, load, scratch, found)
                if not (scratch / "collected").read_text(encoding="utf-8").split()[1:]:
                    raise RuntimeError("the collector received nothing")
                print(f"{model}, {connections} connections: round {number + 1}", flush=True)
            lines = table(dict(sorted(found.items(), key=lambda item: item[0] != WITHOUT)), WITHOUT)
            report += ["", f"## {model}, {connections} connections", "", *lines]
    text = "\n".join(report) + "\n"
    print(text)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def variants_of(
    service: Server, model: Path, port: int, script: Path, with_header: Path
) -> dict[str, Variant]:
    """The variants by name. port: of the collector."""
    plain = replace(service, variables=service.variables | {"SERVING_MODEL_DIR": str(model)})
    traced = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": SHARE,
    }
    return {
        WITHOUT: Variant(plain, script),
        SAMPLED: Variant(replace(plain, variables=plain.variables | traced), script),
        UNSAMPLED: Variant(plain, with_header),
    }


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
        f"    make bench ARGS='--tracing --models {' '.join(arguments.models)} --connections "
        f"{' '.join(map(str, arguments.connections))} --rounds {arguments.rounds} --write'",
        "",
        f"{arguments.rounds} rounds of {TURNS} turns of {SECONDS} s; the services on one core, wrk "
        "and the collector on another. A ratio is the median over the turns, to the turn of the "
        "service without traces; in brackets the quartiles, and the medians of the rounds.",
    ]
