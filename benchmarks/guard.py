"""What is checked out against a commit, in paired rounds: fails where it is slower beyond noise.

    make bench-guard ARGS='--against main~1'
    make bench-guard ARGS='--against v0.1.0 --models forest --rounds 5'
    make bench-guard ARGS='--against HEAD'        the noise of this machine: nothing should fail

Both templates are rendered and installed, and each packages the models with its own command. Both
services run at once on core 0 and take turns of a second under the same load from core 1; see
paired.py. What is compared is a figure of what is checked out, divided by the commit's: of requests
per second, processor time of a request and p99 the median over all turns, of memory and the time
until ready the median over the rounds. A ratio outside its band ends the command with code 1, so
that the bands are the noise that is tolerated. A smaller change is seen on a quiet machine with
more rounds. Three rounds of two models take about four minutes, besides two installations.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from load import read_rows, write_script
from paired import Check, Load, Resting, Rounds, Variant, measure_round, ratios
from report import OURS
from run import LABELS, LOAD_CORE, ROOT, SERVER_CORE, add_work, package, prepare, set_up
from servers import Server, with_model

BEFORE = "the commit"
CONNECTIONS = 32
BANDS = {
    "requests/s": (0.95, float("inf")),
    "CPU of a request": (0.0, 1.05),
    "p99": (0.0, 1.25),
    "memory": (0.0, 1.05),
    "time until ready": (0.0, 1.15),
}
"""Least and greatest ratio that pass. Clock and tail are noisier than the processor time."""
FIELDS = {"requests/s": "rate", "CPU of a request": "process", "p99": "p99"}
RESTING = {"memory": "memory", "time until ready": "ready"}

Restings = dict[str, list[Resting]]


def main() -> None:
    arguments = parse()
    work = set_up(arguments)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        template = check_out(arguments.against, scratch / "template")
        (scratch / "now").mkdir()
        (scratch / "before").mkdir()
        now, packaged = prepare(scratch / "now", work, arguments.models)
        before, _ = prepare(scratch / "before", work, [], template=template)
        data = work / "models"
        packaged_before = package(before, data, arguments.models, scratch / "before/own")
        failed = []
        for model in arguments.models:
            servers = {
                OURS: with_model(now, packaged[model]),
                BEFORE: with_model(before, packaged_before[model]),
            }
            found, restings = rounds(arguments, servers, model, data, scratch)
            failed += judge(model, found, restings)
    if failed:
        sys.exit("slower than the noise explains:\n" + "\n".join(failed))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", required=True, metavar="COMMIT", help="or a tag or a branch")
    parser.add_argument("--models", nargs="+", default=["logreg", "forest"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", metavar="NAME", help="that runs both services")
    add_work(parser)
    arguments = parser.parse_args()
    if "mixed" in arguments.models:
        parser.error("the models of columns are not compared here: use make bench ARGS=--against")
    return arguments


def check_out(commit: str, folder: Path) -> Path:
    """The template as a commit has it. Raises SystemExit if there is no such commit."""
    archived = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, capture_output=True, check=False
    )
    if archived.returncode:
        sys.exit(f"there is no commit {commit}: {archived.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def rounds(
    arguments: argparse.Namespace,
    servers: dict[str, Server],
    model: str,
    data: Path,
    scratch: Path,
) -> tuple[Rounds, Restings]:
    """Measure both services in every round."""
    rows, expected = read_rows(data, model)
    found: Rounds = {}
    restings: Restings = {}
    output = "predict" if model in LABELS else "predict_proba"
    for number in range(arguments.rounds):
        order = list(servers.items())
        bodies = [order[0][1].body(row, None, output) for row in rows]
        script = write_script(scratch / "guard.lua", bodies)
        variants = {
            name: Variant(server, script) for name, server in (order, order[::-1])[number % 2]
        }
        load = Load(CONNECTIONS, SERVER_CORE, LOAD_CORE)
        resting = measure_round(variants, Check(bodies, expected, script), load, scratch, found)
        for name, each in resting.items():
            restings.setdefault(name, []).append(each)
        print(f"{model} round {number + 1} of {arguments.rounds}", flush=True)
    return found, restings


def judge(model: str, found: Rounds, restings: Restings) -> list[str]:
    """Print the ratios of a model; return a line for each that is outside its band."""
    medians = {
        name: statistics.median(
            ratio for turns in ratios(found[OURS], found[BEFORE], field) for ratio in turns
        )
        for name, field in FIELDS.items()
    }
    for name, field in RESTING.items():
        pairs = zip(restings[OURS], restings[BEFORE], strict=True)
        medians[name] = statistics.median(getattr(o, field) / getattr(b, field) for o, b in pairs)
    failed = []
    for name, ratio in medians.items():
        least, greatest = BANDS[name]
        limit = f"at least {least}" if least else f"at most {greatest}"
        line = f"{model:12} {name:18} {ratio:6.3f} of the commit's ({limit} passes)"
        print(line, flush=True)
        if not least <= ratio <= greatest:
            failed.append(line)
    return failed


if __name__ == "__main__":
    main()
