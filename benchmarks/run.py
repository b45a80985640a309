"""The generated service side by side with its peers: same model, rows and machine, in turn.

    make bench                        against bare uvicorn and the plain pattern
    make bench ARGS=--peers           and against mosec, LitServe, BentoML and MLServer
    make bench ARGS=--large           requests of 10,000 rows, raw and as JSON: see large.py
    make bench ARGS=--knobs           with other settings than the defaults
    make bench ARGS='--rounds 1 --models logreg --connections 32'

Every server is pinned to core 0 and wrk to core 1, so a figure is per core. Each round starts each
server afresh, compares its answers with the model's own, warms it for 2 s and measures it at each
number of connections. What is compared are the ratios within a round; their medians are printed
and written to benchmarks/results.md, with a plot beside it. Nothing else may run meanwhile. Needs
wrk (a package of most systems) and two cores. The service runs as it is shipped: limits,
validation and metrics on; only the access log is off, as it is for the peers.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from large import measure_large
from load import idle_cpu, measure, memory, running, verify, write_script
from report import OURS, Found, Rest, Rests, write_plot, write_report
from servers import (
    ALWAYS,
    HERE,
    KNOBS,
    OTHERS,
    PORT,
    Server,
    configure_mlserver,
    install,
    turned,
    uv,
)

ROOT = HERE.parent
SERVER_CORE, LOAD_CORE = "0", "1"


def main() -> None:
    arguments = parse()
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed: it is a package of most systems")
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        service, packaged = prepare(Path(scratch), work, arguments.models)
        if arguments.large:
            cores = SERVER_CORE, LOAD_CORE
            measure_large(arguments, work, service, packaged, Path(scratch), cores)
            return
        servers = [service, *ALWAYS, *(OTHERS if arguments.peers else [])]
        if arguments.knobs:
            servers = [service, *(turned(service, knob) for knob in KNOBS)]
        if arguments.only:
            servers = [s for s in servers if s.name in {OURS, *arguments.only.split(",")}]
        measured = {}
        for model in arguments.models:
            measured[model] = rounds(
                arguments, work, servers, model, packaged[model], Path(scratch)
            )
    if arguments.write:
        name = "knobs" if arguments.knobs else "results"
        write_report(HERE / f"{name}.md", measured, arguments)
        write_plot(HERE / f"{name}.svg", measured)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help="measure the other model servers too")
    parser.add_argument("--large", action="store_true", help="measure large requests instead")
    parser.add_argument("--knobs", action="store_true", help="measure other settings instead")
    parser.add_argument("--only", help="names of peers, separated by commas")
    parser.add_argument("--models", nargs="+", default=["logreg", "forest"])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="write a table and a plot")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--work", type=Path, default=cache / "cookiecutter-model-serving-bench")
    return parser.parse_args()


def prepare(scratch: Path, work: Path, models: list[str]) -> tuple[Server, dict[str, Path]]:
    """Render and install the service; fit the models; package them as users do."""
    project = Path(
        cookiecutter(
            str(ROOT), no_input=True, default_config=True, accept_hooks=False, output_dir=scratch
        )
    )
    uv("sync", "--compile-bytecode", "--no-dev", cwd=project)
    binaries = project / ".venv" / "bin"
    data = work / "models"
    subprocess.run([binaries / "python", HERE / "models.py", data], check=True)
    packaged = {}
    for model in models:
        packaged[model] = scratch / model
        review = ["--trust", "sklearn.tree._tree.Tree"] if model == "forest" else []
        subprocess.run(
            [binaries / project.name, "model", "package", data / f"{model}.joblib", *review]
            + ["--examples", data / "rows.csv", "--model-dir", packaged[model]],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    command = f"{binaries / project.name} serve --port {PORT}"
    variables = {"SERVING_ACCESS_LOG": "false"}
    return Server(OURS, (), command, "/readyz", variables=variables), packaged


def rounds(
    arguments: argparse.Namespace,
    work: Path,
    servers: list[Server],
    model: str,
    packaged: Path,
    scratch: Path,
) -> tuple[Found, Rests]:
    """Measure every server in every round; print as it goes; return all figures."""
    file = work / "models" / f"{model}.joblib"
    rows = json.loads((work / "models" / "rows.json").read_text(encoding="utf-8"))
    expected = json.loads((work / "models" / f"{model}-answers.json").read_text(encoding="utf-8"))
    configure_mlserver(scratch / "mlserver", file)
    columns = (work / "models" / "rows.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    found: Found = {}
    rests: Rests = {}
    for number in range(arguments.rounds):
        for server in servers:
            script = write_script(scratch / "load.lua", [server.body(row) for row in rows])
            binaries = install(server, work) if server.requirements else ""
            places = {"bin": binaries, "peers": HERE / "peers", "port": PORT}
            places["scratch"] = scratch / "mlserver"
            variables = {
                **server.variables,
                "MODEL_PATH": str(file),
                "SERVING_MODEL_DIR": str(packaged),
            }
            command = server.command.format(**places)
            log = scratch / "server.log"
            with running(command, variables, server.ready, log, SERVER_CORE) as (process, seconds):
                if server.name != "bare uvicorn":
                    verify(server, rows, expected)
                measure(server.predict, script, 8, 2, LOAD_CORE)
                for connections in arguments.connections:
                    figures = measure(
                        server.predict, script, connections, arguments.seconds, LOAD_CORE
                    )
                    found.setdefault((server.name, connections), []).append(figures)
                    print(
                        f"{model} round {number + 1} {server.name:14} {connections:4} connections "
                        f"{figures.rate:8.0f}/s  p50 {figures.p50:7.2f}  p99 {figures.p99:7.2f} ms"
                        f"  failed {figures.failed}",
                        flush=True,
                    )
                by_name = 0.0
                if server.name == OURS:
                    bodies = [server.body(row, columns) for row in rows]
                    objects = write_script(scratch / "objects.lua", bodies)
                    by_name = measure(
                        server.predict, objects, 32, arguments.seconds, LOAD_CORE
                    ).rate
                rest = Rest(seconds, memory(process), idle_cpu(process), by_name)
                rests.setdefault(server.name, []).append(rest)
                print(f"{model} round {number + 1} {server.name:14} {rest}", flush=True)
    for (name, connections), theirs in found.items():
        ours = found[OURS, connections]
        ratio = statistics.median(o.rate / t.rate for o, t in zip(ours, theirs, strict=True))
        print(f"{model} {connections:4} connections: {OURS} / {name:14} {ratio:6.2f}")
    return found, rests


if __name__ == "__main__":
    main()
