"""The service on Ray Serve, behind each of Ray's two proxies, beside the service alone.

    make bench ARGS=--ray
    make bench ARGS='--ray --rounds 1 --seconds 1'

One process with the logistic regression of 30 columns, and one replica of it behind Ray's own proxy
and behind HAProxy. Everything that serves shares one core, wrk has the other, so that a figure is
what a core gives; what Ray's controller needs is in it. A cluster starts on all cores and is pinned
when it is ready: Ray gives up where its agents need more than half a minute to start.
"""

import argparse
import statistics
import subprocess
from pathlib import Path

from cookiecutter.main import cookiecutter

from load import Figures, measure, read_rows, running, verify, write_script
from report import ratio
from runtimes import CONNECTIONS, ROOT, package
from servers import HERE, PEERS, PORT, RAY, Server, service_of, uv, with_model

ALONE = "the service alone"
PROXIES = {"Ray's own proxy": "0", "HAProxy": "1"}

Found = dict[str, list[dict[int, Figures]]]


def measure_ray(arguments: argparse.Namespace, work: Path, scratch: Path) -> None:
    """Measure all three in turn; print, and write if that is asked for."""
    project = Path(
        cookiecutter(
            str(ROOT),
            no_input=True,
            default_config=True,
            output_dir=str(scratch),
            extra_context={"deployment": "ray-serve"},
        )
    )
    uv("sync", "--quiet", "--compile-bytecode", cwd=project)
    python = project / ".venv/bin/python"
    data = work / "models"
    subprocess.run([python, HERE / "models.py", data], check=True)
    model = package("scikit-learn", "logreg", project, data, scratch)
    servers = [with_model(service_of(project, ALONE), model)]
    for name, haproxy in PROXIES.items():
        command = f"{python} {PEERS / 'on_ray.py'} {PORT} iris_service"
        variables = RAY | {"RAY_SERVE_ENABLE_HA_PROXY": haproxy, "SERVING_ACCESS_LOG": "false"}
        server = Server(name, (), command, "/readyz", variables=variables, free_start=True)
        servers.append(with_model(server, model))
    table = report(rounds(arguments, servers, data, scratch), arguments)
    print(table)
    if arguments.write:
        (HERE / "ray_serve.md").write_text(table, encoding="utf-8")


def rounds(
    arguments: argparse.Namespace, servers: list[Server], data: Path, scratch: Path
) -> Found:
    rows, answers = read_rows(data, "logreg")
    found: Found = {server.name: [] for server in servers}
    for number in range(arguments.rounds):
        for server in servers if number % 2 == 0 else servers[::-1]:
            bodies = [server.body(row) for row in rows]
            script = write_script(scratch / "load.lua", bodies)
            log = scratch / "server.log"
            with running(
                server.command,
                server.variables,
                server.ready,
                log,
                "0",
                free_start=server.free_start,
            ):
                verify(server, bodies, answers)
                measure(server.predict, script, 8, 2, "1")
                figures = {
                    count: measure(server.predict, script, count, arguments.seconds, "1")
                    for count in CONNECTIONS
                }
            found[server.name].append(figures)
            print(f"round {number + 1} {server.name:17} {figures}", flush=True)
    return found


def report(found: Found, arguments: argparse.Namespace) -> str:
    """The table, in Markdown."""
    lines = [
        "# The service on Ray Serve",
        "",
        f"    make bench ARGS='--ray --rounds {arguments.rounds} --seconds "
        f"{arguments.seconds:g} --write'",
        "",
        "Medians; all that serves on one core, wrk on another, answers verified. The ratios are "
        "medians of the rounds', to the service alone.",
        "",
        "| | requests/s, 1 connection | 32 | p99, 1 connection | 32 | ratio, 1 connection | 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, measured in found.items():
        cells = [
            f"{statistics.median(each[n].rate for each in measured):,.0f}" for n in CONNECTIONS
        ]
        cells += [
            f"{statistics.median(each[n].p99 for each in measured):.1f} ms" for n in CONNECTIONS
        ]
        for n in CONNECTIONS:
            pair = ([each[n] for each in figures] for figures in (measured, found[ALONE]))
            cells.append(f"{ratio(*pair, 'rate'):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
