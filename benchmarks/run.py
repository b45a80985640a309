"""The generated service side by side with its peers: same model, rows and machine, in turn.

    make bench                        against bare uvicorn and the plain pattern
    make bench ARGS=--peers           and against the other model servers
    make bench ARGS='--cells --peers --rounds 3 --seconds 2 --write'
                                      every model at 1, 32 and 128 connections: cells.md
    make bench ARGS=--open            and with requests that do not wait for answers (open_loop.py)
    make bench ARGS='--python 3.13'   with another Python: its name, or the path of its binary
    make bench ARGS=--large           requests of 10,000 rows, raw and as JSON: see large.py
    make bench ARGS=--files           files of 250,000 rows, with `predict`: see files.py
    make bench ARGS=--knobs           with other settings than the defaults
    make bench ARGS=--workers         one, two and four workers with a large forest (workers.py)
    make bench ARGS=--runtimes        the runtimes beside each other (runtimes.py)
    make bench ARGS=--shadow          with and without a record and a shadow (observers.py)
    make bench ARGS=--tracing         with 1 % of the requests traced, and without (tracing.py)
    make bench ARGS=--ray             on Ray Serve, behind each of its proxies (ray_serve.py)
    make bench ARGS=--plan            what `plan` expects beside the real service (plan.py)
    make bench ARGS='--models mixed'  against the plain pattern with pandas and MLflow
    make bench ARGS='--against DIR'   against another project, such as one that an earlier commit
                                      rendered, where `uv sync --no-dev --compile-bytecode` was run
    make bench ARGS='--rounds 1 --models logreg --connections 32'

Every server is pinned to core 0 and wrk to core 1, so a figure is per core. Each round starts each
server afresh, compares its answers with the model's own, warms it for 2 s and measures it at each
number of connections. What is compared are the ratios within a round; their medians are printed
and written to benchmarks/results.md, with a plot beside it; those of --against are only printed,
with p50, p99, memory and start. It says first about how long it takes: --cells with all peers 1.1
hours with 3 rounds of 2 s. Nothing else may run meanwhile. Needs wrk (a package of most
systems) and two cores. The service runs as it is shipped: limits, validation and metrics on; only
the access log is off, as it is for the peers.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

import servers
import workers
from files import MODELS, measure_files, write_files
from large import measure_large, write_large
from load import measure, read_rows, rows_of, running, verify, write_script
from observers import MODEL, measure_observers
from open_loop import SHARES, Asked, OpenFound, measure_open
from plan import measure_plan
from ray_serve import measure_ray
from report import (
    OTHER,
    OURS,
    Found,
    Measured,
    Rest,
    Rests,
    compare,
    ratio,
    write_plot,
    write_report,
)
from runtimes import measure_runtimes
from servers import (
    ALWAYS,
    HERE,
    KNOBS,
    MIXED,
    OTHERS,
    PORT,
    Server,
    choose_python,
    configure_mlserver,
    install,
    service_of,
    turned,
    uv,
    with_model,
)
from tracing import measure_tracing

ROOT = HERE.parent
SERVER_CORE, LOAD_CORE = "0", "1"
CELLS = ["logreg", "forest", "svc", "neighbors", "boosting", "histboosting", "mixed"]
LABELS = {"svc"}
"""Models without probabilities."""


def main() -> None:
    arguments = parse()
    work = set_up(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.workers:
            measure_workers(arguments, Path(scratch), work)
            return
        if arguments.ray:
            measure_ray(arguments, work, Path(scratch))
            return
        if arguments.runtimes:
            measure_runtimes(arguments, work, Path(scratch))
            return
        if arguments.shadow:
            service, packaged = prepare(Path(scratch), work, [MODEL])
            data = work / "models"
            measure_observers(arguments, service, data, packaged[MODEL], Path(scratch))
            return
        if arguments.tracing:
            service, packaged = prepare(Path(scratch), work, arguments.models, extra="trace")
            measure_tracing(arguments, service, work / "models", packaged, Path(scratch))
            return
        if arguments.plan:
            service, packaged = prepare(Path(scratch), work, arguments.models)
            project = Path(service.command.split()[0]).parents[2]
            sys.exit(measure_plan(arguments, project, work / "models", packaged))
        if arguments.files:
            service, packaged = prepare(Path(scratch), work, MODELS, pandas=True)
            command = Path(service.command.split()[0])
            data = work / "models"
            files = measure_files(arguments.rounds, command, data, packaged, Path(scratch))
            if arguments.write:
                write_files(HERE / "files.md", files, arguments)
            return
        if arguments.large:
            service, packaged = prepare(Path(scratch), work, arguments.models)
            cores = SERVER_CORE, LOAD_CORE
            found = measure_large(arguments, work, service, packaged, Path(scratch), cores)
            if arguments.write:
                write_large(HERE / "large.md", found, arguments)
            return
        own = with_models(Path(scratch), work, arguments.models)
        if arguments.against:
            other = service_of(arguments.against, OTHER)
            others_own = package(other, work / "models", arguments.models, Path(scratch, "other"))
        measured: Measured = {}
        peers_of = {}
        others = arguments.peers or arguments.only
        for model in arguments.models:
            peers = MIXED if model == "mixed" else [*ALWAYS, *(OTHERS if others else [])]
            if arguments.against:
                peers = [with_model(other, others_own[model])]
            ours = own[model]
            if arguments.knobs:
                peers = [turned(ours, knob) for knob in KNOBS]
            if arguments.only:
                peers = [peer for peer in peers if peer.name in arguments.only.split(",")]
            peers_of[model] = [ours, *peers]
        print(f"about {expected_minutes(arguments, peers_of):.0f} minutes", flush=True)
        for model, those in peers_of.items():
            measured[model] = rounds(arguments, work, those, model, Path(scratch))
    if arguments.against:
        print(compare(measured))
    elif arguments.write:
        others = "mixed" if arguments.models == ["mixed"] else "results"
        name = "knobs" if arguments.knobs else "cells" if arguments.cells else others
        every = [server for those in peers_of.values() for server in those]
        configured = {server.name: server.configured for server in every}
        write_report(HERE / f"{name}.md", measured, arguments, configured)
        write_plot(HERE / f"{name}.svg", measured)


def set_up(arguments: argparse.Namespace) -> Path:
    """Choose the Python and check the tools; returns the folder of what is kept between runs.

    Raises SystemExit if a tool is missing.
    """
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed: it is a package of most systems")
    if arguments.python:
        choose_python(arguments.python)
    work: Path = arguments.work / f"python-{servers.python_version()}"
    work.mkdir(parents=True, exist_ok=True)
    return work


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder of what is kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--work", type=Path, default=cache / "cookiecutter-model-serving-bench")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help="measure the other model servers too")
    parser.add_argument("--cells", action="store_true", help="measure every model")
    parser.add_argument("--open", action="store_true", help="measure open loops too")
    parser.add_argument("--python", metavar="NAME", help="that runs the service and the peers")
    parser.add_argument("--large", action="store_true", help="measure large requests instead")
    parser.add_argument("--files", action="store_true", help="measure `predict` instead")
    parser.add_argument("--knobs", action="store_true", help="measure other settings instead")
    parser.add_argument("--workers", action="store_true", help="measure workers instead")
    parser.add_argument("--runtimes", action="store_true", help="measure the runtimes instead")
    parser.add_argument("--shadow", action="store_true", help="measure record and shadow instead")
    parser.add_argument("--tracing", action="store_true", help="measure what traces cost instead")
    parser.add_argument("--plan", action="store_true", help="measure what `plan` expects instead")
    parser.add_argument("--ray", action="store_true", help="measure Ray's proxies instead")
    parser.add_argument("--trees", type=int, default=100, help="of the forest for the workers")
    parser.add_argument("--against", type=Path, metavar="DIR", help="measure another project")
    parser.add_argument("--only", help="names of peers, separated by commas")
    parser.add_argument("--models", nargs="+", default=["logreg", "forest"])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 32, 128])
    parser.add_argument("--rounds", type=int, help="5 by default; of --files 3")
    parser.add_argument("--seconds", type=float, default=4, help="wrk rounds them up")
    parser.add_argument("--write", action="store_true", help="write a table and a plot")
    add_work(parser)
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.files else 5
    if arguments.cells:
        arguments.models = CELLS
    return arguments


def expected_minutes(arguments: argparse.Namespace, servers_of: dict[str, list[Server]]) -> float:
    """About how long the rounds take, once every environment is there."""
    each = 3 + 2 + 3  # to start and to end, to warm up, to be idle
    each += math.ceil(arguments.seconds) * len(arguments.connections)
    each += (arguments.seconds + 1) * len(SHARES) * arguments.open
    every = [server for those in servers_of.values() for server in those]
    slow = 25 * sum(server.free_start for server in every)
    return arguments.rounds * (each * len(every) + slow) / 60


def prepare(
    scratch: Path,
    work: Path,
    models: list[str],
    trees: int = 0,
    pandas: bool = False,
    extra: str = "",
    template: Path = ROOT,
) -> tuple[Server, dict[str, Path]]:
    """Render and install the service; fit the models; package them as users do.

    pandas: whether the extra `package` is installed too. extra: one of the engine's to install.
    template: another than this, such as that of a commit.
    """
    project = Path(
        cookiecutter(
            str(template),
            no_input=True,
            default_config=True,
            accept_hooks=False,
            output_dir=scratch,
        )
    )
    # Where pandas is installed, scikit-learn imports it: only a model that needs it pays for it.
    if "mixed" in models:
        uv("add", "--no-sync", "serving-engine[frame]", cwd=project)
    if extra:
        uv("add", "--no-sync", f"serving-engine[{extra}]", cwd=project)
    extras = ["--extra", "package"] if pandas else []
    uv("sync", "--compile-bytecode", "--no-dev", *extras, cwd=project)
    service = service_of(project, OURS)
    data = work / "models"
    fitted = ["--large", str(trees)] if trees else []
    fitted += ["--mixed"] if "mixed" in models else []
    subprocess.run([project / ".venv/bin/python", HERE / "models.py", data, *fitted], check=True)
    return service, package(service, data, models, scratch / "ours")


def with_models(scratch: Path, work: Path, models: list[str]) -> dict[str, Server]:
    """The service with each model, in two projects: that of the mixed columns needs pandas."""
    found = {}
    mixed = [model for model in models if model == "mixed"]
    for name, those in {"arrays": [m for m in models if m != "mixed"], "columns": mixed}.items():
        if those:
            folder = scratch / name
            folder.mkdir()
            service, packaged = prepare(folder, work, those)
            found |= {model: with_model(service, packaged[model]) for model in those}
    return found


def package(service: Server, data: Path, models: list[str], out: Path) -> dict[str, Path]:
    """The model directories that a service makes of the models, with its own command."""
    out.mkdir()
    tree = "sklearn.tree._tree.Tree"
    types = {"forest": tree, "large": tree, "mixed": "numpy.dtype"}
    for model in models:
        review = ["--trust", types[model]] if model in types else []
        subprocess.run(
            [service.command.split()[0], "model", "package", data / f"{model}.joblib", *review]
            + ["--examples", data / rows_of(model, "csv"), "--model-dir", out / model],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SERVING_MAX_MODEL_BYTES": str(workers.LARGEST)},
        )
    return {model: out / model for model in models}


def measure_workers(arguments: argparse.Namespace, scratch: Path, work: Path) -> None:
    """Measure one, two and four workers with a forest that is worth sharing."""
    service, packaged = prepare(scratch, work, ["large"], arguments.trees)
    found = workers.rounds(service, arguments, work / "models", packaged["large"], scratch)
    memories, rates = workers.ratios(found)
    print(f"4 workers / 1: memory {memories:.2f}   2 workers / 1: requests/s {rates:.2f}")
    if arguments.write:
        workers.write_workers(HERE / "workers.md", found, arguments)


def rounds(
    arguments: argparse.Namespace,
    work: Path,
    those: list[Server],
    model: str,
    scratch: Path,
) -> tuple[Found, Rests, OpenFound]:
    """Measure every server in every round; print as it goes; return all figures."""
    file = work / "models" / f"{model}.joblib"
    rows, expected = read_rows(work / "models", model)
    output = "predict" if model in LABELS else "predict_proba"
    configure_mlserver(scratch / "mlserver", file)
    table = work / "models" / rows_of(model, "csv")
    columns = table.read_text(encoding="utf-8").splitlines()[0].split(",")
    found: Found = {}
    rests: Rests = {}
    loads: OpenFound = {}
    python = Path(those[0].command.split()[0]).parent / "python"
    for number in range(arguments.rounds):
        for server in those if number % 2 == 0 else those[::-1]:
            names = columns if model == "mixed" else None
            asked = [server.body(row, names, output) for row in rows]
            script = write_script(scratch / "load.lua", asked)
            binaries = install(server, work) if server.requirements else ""
            places = {"bin": binaries, "peers": HERE / "peers", "port": PORT}
            places["scratch"] = scratch / "mlserver"
            variables = {**server.variables, "MODEL_PATH": str(file)}
            command = server.command.format(**places)
            log = scratch / "server.log"
            with running(
                command, variables, server.ready, log, SERVER_CORE, free_start=server.free_start
            ) as runs:
                if server.name != "bare uvicorn":
                    verify(server, asked, expected)
                measure(server.predict, script, 8, 2, LOAD_CORE)
                for connections in arguments.connections:
                    figures = measure(
                        server.predict, script, connections, arguments.seconds, LOAD_CORE
                    )
                    found.setdefault((server.name, connections), []).append(figures)
                    print(
                        f"{model} round {number + 1} {server.name:17} {connections:4} connections "
                        f"{figures.rate:8.0f}/s  p50 {figures.p50:7.2f}  p99 {figures.p99:7.2f} ms"
                        f"  failed {figures.failed}",
                        flush=True,
                    )
                by_name = 0.0
                if server.name in (OURS, OTHER):
                    bodies = [server.body(row, columns) for row in rows]
                    objects = write_script(scratch / "objects.lua", bodies)
                    by_name = measure(
                        server.predict, objects, 32, arguments.seconds, LOAD_CORE
                    ).rate
                if arguments.open:
                    scores = None if server.name == "bare uvicorn" else expected
                    most = max(found[server.name, c][-1].rate for c in arguments.connections)
                    given = Asked(asked, scores), most, arguments.seconds, LOAD_CORE
                    for share, each in measure_open(python, server, *given).items():
                        loads.setdefault((server.name, share), []).append(each)
                        print(f"{model} round {number + 1} {server.name:17} {share:4.0%} {each}")
                rest = Rest(runs.ready, runs.memory(), runs.idle_cpu(), by_name)
                rests.setdefault(server.name, []).append(rest)
                print(f"{model} round {number + 1} {server.name:17} {rest}", flush=True)
    for (name, connections), theirs in found.items():
        rate = ratio(found[OURS, connections], theirs, "rate")
        print(f"{model} {connections:4} connections: {OURS} / {name:14} {rate:6.2f}")
    return found, rests, loads


if __name__ == "__main__":
    main()
