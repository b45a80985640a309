"""The same models in each runtime: what a project needs, how soon it is ready, how fast it answers.

    make bench ARGS=--runtimes
    make bench ARGS='--runtimes --rounds 1 --seconds 1'

A logistic regression after a scaler and a forest of 100 trees, both of 30 columns, and the pipeline
of ten mixed columns: fitted once, packaged for the runtimes `scikit-learn` and `onnx`. For
`python`, the logistic regression is a class that computes it with NumPy. Each project is what a
user generates for that runtime, with what its models need and no more.
"""

import argparse
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple

from cookiecutter.main import cookiecutter

from load import Figures, measure, read_rows, rows_of, running, verify, write_script
from servers import HERE, Server, service_of, uv, with_model

ROOT = HERE.parent
RUNTIMES = ("scikit-learn", "onnx", "python")
MODELS = {
    "scikit-learn": ("logreg", "trees", "mixed"),
    "onnx": ("logreg", "trees", "mixed"),
    "python": ("logreg",),
}
CONNECTIONS = (1, 32)

FIT = """
import json, sys, joblib, numpy as np
from pathlib import Path
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
out = Path(sys.argv[1])
data = load_breast_cancer()
forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(data.data, data.target)
joblib.dump(forest, out / "trees.joblib")
answers = forest.predict_proba(data.data[:512]).tolist()
(out / "trees-answers.json").write_text(json.dumps(answers))
scaler, logreg = joblib.load(out / "logreg.joblib")
arrays = {"mean": scaler.mean_, "scale": scaler.scale_, "w": logreg.coef_[0]}
np.savez(out / "logreg.npz", b=logreg.intercept_, **arrays)
"""

CLASS = """
import numpy as np
from serving_engine import PythonModel


class Model(PythonModel):
    classes = [0, 1]

    def load(self, directory):
        with np.load(directory / "logreg.npz", allow_pickle=False) as saved:
            self.mean, self.scale, self.w, self.b = (saved[n] for n in ("mean", "scale", "w", "b"))

    def predict(self, rows):
        one = 1 / (1 + np.exp(-((rows - self.mean) / self.scale @ self.w + self.b)))
        return {"probabilities": np.column_stack([1 - one, one])}
"""


class Measured(NamedTuple):
    """One measurement: seconds until ready, MiB, and figures by number of connections."""

    start: float
    memory: float
    figures: dict[int, Figures]


Found = dict[tuple[str, str], list[Measured]]


def measure_runtimes(arguments: argparse.Namespace, work: Path, scratch: Path) -> None:
    """Measure every model in every runtime, in turn; print, and write if that is asked for."""
    packager = render("scikit-learn", scratch / "packager")
    uv("sync", "--quiet", "--group", "engine", cwd=packager)
    data = work / "models"
    python = packager / ".venv/bin/python"
    subprocess.run([python, HERE / "models.py", data, "--mixed"], check=True)
    subprocess.run([python, "-c", FIT, data], check=True)
    projects = {runtime: install(runtime, scratch) for runtime in RUNTIMES}
    sizes = {runtime: size(project / ".venv") for runtime, project in projects.items()}
    servers = {
        (runtime, model): with_model(
            service_of(projects[runtime], runtime),
            package(runtime, model, packager, data, scratch),
        )
        for runtime in RUNTIMES
        for model in MODELS[runtime]
    }
    found = rounds(arguments, servers, data, scratch)
    table = report(found, sizes, arguments)
    print(table)
    if arguments.write:
        (HERE / "runtimes.md").write_text(table, encoding="utf-8")


def render(runtime: str, out: Path) -> Path:
    return Path(
        cookiecutter(
            str(ROOT),
            no_input=True,
            default_config=True,
            output_dir=str(out),
            extra_context={"model_runtime": runtime},
        )
    )


def install(runtime: str, scratch: Path) -> Path:
    """A project with what its models need: pandas for mixed columns with scikit-learn."""
    project = render(runtime, scratch / runtime)
    if runtime == "scikit-learn":
        uv("add", "--no-sync", "serving-engine[frame]", cwd=project)
    if runtime == "python":
        (project / "src" / "iris_service" / "model.py").write_text(CLASS, encoding="utf-8")
    uv("sync", "--compile-bytecode", "--no-dev", cwd=project)
    return project


def package(runtime: str, model: str, packager: Path, data: Path, scratch: Path) -> Path:
    """A model directory, made in an environment that has every library."""
    out = scratch / "models" / runtime / model
    rows = data / ("mixed-rows.csv" if model == "mixed" else "rows.csv")
    file = data / (f"{model}.npz" if runtime == "python" else f"{model}.joblib")
    if runtime == "python":
        source = packager / "src" / "iris_service" / "model.py"
        source.write_text(CLASS, encoding="utf-8")
    command = [packager / ".venv/bin/iris-service", "model", "package", file, "--examples", rows]
    command += ["--runtime", runtime, "--model-dir", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def size(folder: Path) -> float:
    """MiB of an environment."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 2**20


def rounds(
    arguments: argparse.Namespace,
    servers: dict[tuple[str, str], Server],
    data: Path,
    scratch: Path,
) -> Found:
    found: Found = {}
    for number in range(arguments.rounds):
        order = list(servers.items())
        for (runtime, model), server in order if number % 2 == 0 else order[::-1]:
            rows, answers = read_rows(data, model)
            columns = (data / rows_of(model, "csv")).read_text(encoding="utf-8").splitlines()[0]
            names = columns.split(",") if model == "mixed" else None
            bodies = [server.body(row, names) for row in rows]
            script = write_script(scratch / "load.lua", bodies)
            log = scratch / "server.log"
            with running(server.command, server.variables, server.ready, log, "0") as server_runs:
                verify(server, bodies, answers)
                measure(server.predict, script, 8, 2, "1")
                figures = {
                    count: measure(server.predict, script, count, arguments.seconds, "1")
                    for count in CONNECTIONS
                }
                measured = Measured(server_runs.ready, server_runs.memory(), figures)
            found.setdefault((runtime, model), []).append(measured)
            print(f"round {number + 1} {runtime:12} {model:7} {measured}", flush=True)
    return found


def report(found: Found, sizes: dict[str, float], arguments: argparse.Namespace) -> str:
    """The table, in Markdown."""
    lines = [
        "# The runtimes beside each other",
        "",
        f"    make bench ARGS='--runtimes --rounds {arguments.rounds} --seconds "
        f"{arguments.seconds:g} --write'",
        "",
        "Medians; one process on one core, wrk on another, answers verified. The size is that of "
        "the environment without what develops the project (for `scikit-learn`, with pandas for "
        "the mixed columns). The ratios are medians of the rounds', to the runtime `scikit-learn`.",
        "",
        "| runtime | model | environment | ready after | memory | requests/s, 1 connection | "
        "32 | ratio, 1 connection | 32 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (runtime, model), measured in found.items():
        base = found["scikit-learn", model]
        cells = [
            f"{sizes[runtime]:.0f} MiB",
            f"{statistics.median(each.start for each in measured):.2f} s",
            f"{statistics.median(each.memory for each in measured):.0f} MiB",
        ]
        rates = {n: [each.figures[n].rate for each in measured] for n in CONNECTIONS}
        cells += [f"{statistics.median(rates[n]):,.0f}" for n in CONNECTIONS]
        for n in CONNECTIONS:
            pairs = zip(rates[n], base, strict=True)
            cells.append(f"{statistics.median(r / b.figures[n].rate for r, b in pairs):.2f}")
        lines.append(f"| `{runtime}` | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
