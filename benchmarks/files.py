"""The command `predict` against the loop that a user would write: files of 250,000 rows.

    make bench ARGS=--files
    make bench ARGS='--files --rounds 9 --write'

`logreg` and `forest` take 30 columns of numbers, `mixed` takes ten columns of numbers, integers,
booleans and strings. The loop calls the estimator itself on chunks of as many rows as `predict`
does, on one thread as `predict` does, and reads and writes with pandas or pyarrow. `estimator` is
the same loop over rows in memory, which keeps nothing. Of `predict`, the time of a run with one row
is subtracted: imports, and loading the model with its checks.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

ROWS = 250_000
CHUNK = 8000
KINDS = ("csv", "parquet")
MODELS = ["logreg", "forest", "mixed"]
SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Found = dict[str, dict[str, float]]
"""Seconds, by model, and by kind of file and what was measured."""

MAKE = """
import sys, numpy, pandas
few, folder, size = pandas.read_csv(sys.argv[1]), sys.argv[2], int(sys.argv[3])
random = numpy.random.default_rng(0)
table = few.iloc[random.integers(len(few), size=size)].reset_index(drop=True)
for name in table.columns[table.dtypes == float]:
    table[name] = (table[name] * random.uniform(0.9, 1.1, size)).round(5)
for name, part in ("rows", table), ("one", table[:1]):
    part.to_csv(f"{folder}/{name}.csv", index=False)
    part.to_parquet(f"{folder}/{name}.parquet")
"""

LOOP = """
import sys, time, joblib, numpy, pandas, pyarrow, pyarrow.parquet
file, rows, result, kind, chunk = *sys.argv[1:5], int(sys.argv[5])
model = joblib.load(file)
classes = [f"probabilities.{name}" for name in model.classes_]
named = hasattr(model, "feature_names_in_")

def predict(part):
    probabilities = model.predict_proba(part if named else part.to_numpy())
    table = pandas.DataFrame(probabilities, columns=classes)
    table.insert(0, "label", model.classes_[probabilities.argmax(axis=1)])
    return table

if kind == "memory":
    table = pandas.read_parquet(rows)
    table = table if named else table.to_numpy()
    started = time.perf_counter()
    for start in range(0, len(table), chunk):
        model.classes_[model.predict_proba(table[start : start + chunk]).argmax(axis=1)]
elif kind == "csv":
    started = time.perf_counter()
    with open(result, "w") as out:
        for number, part in enumerate(pandas.read_csv(rows, chunksize=chunk)):
            predict(part).to_csv(out, index=False, header=not number)
else:
    started = time.perf_counter()
    writer = None
    for batch in pyarrow.parquet.ParquetFile(rows).iter_batches(chunk, use_threads=False):
        table = pyarrow.Table.from_pandas(predict(batch.to_pandas()))
        writer = writer or pyarrow.parquet.ParquetWriter(result, table.schema)
        writer.write_table(table)
    writer.close()
print(time.perf_counter() - started)
"""


def measure_files(
    rounds: int, command: Path, data: Path, packaged: dict[str, Path], scratch: Path
) -> Found:
    """Measure and print; return the median seconds.

    command: the service's. data: the folder with each model's estimator and rows. packaged: the
    model directories.
    """
    python = command.parent / "python"
    medians: Found = {}
    for model, directory in packaged.items():
        few = data / ("mixed-rows.csv" if model == "mixed" else "rows.csv")
        subprocess.run([python, "-c", MAKE, few, scratch, str(ROWS)], check=True)
        found: dict[str, list[float]] = {}
        file = data / f"{model}.joblib"
        for _ in range(rounds):
            seconds = _loop(python, file, scratch / "rows.parquet", "memory", scratch)
            found.setdefault("estimator", []).append(seconds)
            for kind in KINDS:
                rows = scratch / f"rows.{kind}"
                loop = _loop(python, file, rows, kind, scratch)
                found.setdefault(f"{kind} loop", []).append(loop)
                start = _predict(command, directory, scratch / f"one.{kind}", 1)
                for workers in (1, 2):
                    whole = _predict(command, directory, rows, workers)
                    found.setdefault(f"{kind} predict {workers}", []).append(whole - start)
        medians[model] = {name: statistics.median(seconds) for name, seconds in found.items()}
        for name, median in medians[model].items():
            kind = name.partition(" ")[0]
            of_loop = medians[model].get(f"{kind} loop", median) / median
            print(
                f"{model} {name:18} {ROWS / median:9,.0f} rows/s, {of_loop:.2f} of the loop, "
                f"{medians[model]['estimator'] / median:.2f} of the estimator",
                flush=True,
            )
    return medians


def _loop(python: Path, file: Path, rows: Path, kind: str, scratch: Path) -> float:
    arguments = [file, rows, scratch / "loop-result", kind, str(CHUNK)]
    return float(
        subprocess.check_output([python, "-c", LOOP, *arguments], env={**os.environ, **SINGLE})
    )


def _predict(command: Path, directory: Path, rows: Path, workers: int) -> float:
    result = rows.with_name(f"result{rows.suffix}")
    arguments = [rows, "--output", result, "--model-dir", directory, "--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run([command, "predict", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def write_files(path: Path, found: Found, arguments: argparse.Namespace) -> None:
    """Write the table."""
    names = list(dict.fromkeys(name for medians in found.values() for name in medians))
    lines = [
        "# Files",
        "",
        f"`make bench ARGS=--files` with {arguments.rounds} rounds: {ROWS:,} rows, thousands of "
        "rows a second; in brackets as a part of what the loop with pandas or pyarrow does, and of "
        "what the estimator does in memory. `predict 2` has two workers. `mixed` has ten columns "
        "of several types, the others 30 columns of numbers.",
        "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for name in names:
        cells = []
        for medians in found.values():
            loop = medians.get(f"{name.partition(' ')[0]} loop", medians["estimator"])
            parts = f"{loop / medians[name]:.2f}, {medians['estimator'] / medians[name]:.2f}"
            cells.append(f"{ROWS / medians[name] / 1000:,.0f} ({parts})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
