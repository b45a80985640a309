"""The command `predict` in processes: several workers, a kill, a terminal, little memory."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from .example_service import transformers
from .models import package_estimator
from .service import PACKAGE, PATIENCE, environment, run_script, wait_until
from .test_predict_file import NAMES, X, as_rows, read_result, write_rows

PREDICT = f"""
import sys
from serving_engine import Service, run_command_line
from serving_engine.blas_threads import limit_threads_of_imports
limit_threads_of_imports()
from serving_engine.cli.predict import sources
sources.BLOCK_BYTES = 5000
run_command_line(Service("{PACKAGE}"), ["predict", *sys.argv[1:]])
"""
"""The command with some 300 rows in each block."""


@pytest.fixture(scope="module")
def held_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that holds up rows with a number over 1000."""
    model = make_pipeline(
        transformers.Held(above=1000), GradientBoostingClassifier(n_estimators=3, random_state=0)
    ).fit(X, X[:, 0] > 5)
    directory = tmp_path_factory.mktemp("held") / "model"
    held = f"{transformers.__name__}.Held"
    return package_estimator(model, NAMES, X[:10], directory, trusted_types=[held])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file whose last rows the model holds up, and one that is bad."""
    table = np.vstack([X, [[5000, 1, 1]]])
    path = write_rows(tmp_path / "rows.csv", as_rows(table))
    with path.open("a", encoding="utf-8") as file:
        file.write("bad,row,0\n")
    return path


def command(rows: Path, result: Path, model: Path, *arguments: str) -> list[str]:
    files = [str(rows), "--output", str(result), "--on-error", str(rows.with_name("bad.jsonl"))]
    return [sys.executable, "-c", PREDICT, *files, "--model-dir", str(model), *arguments]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
@pytest.mark.parametrize(("form", "workers"), [("csv", "1"), ("jsonl", "2"), ("parquet", "3")])
def test_a_run_that_was_killed_goes_on_to_the_same_result(
    form: str, workers: str, held_trees: Path, hold: Path, rows: Path
) -> None:
    """Killed after a checkpoint, before the end. One worker makes the same file as several."""
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
    result = rows.with_name(f"result.{form}")
    checkpoint = rows.with_name(f"{result.name}.checkpoint")
    with subprocess.Popen(
        command(rows, result, held_trees, "--workers", workers),
        env=environment(HOLD_LOADS=hold),
        start_new_session=True,
    ) as process:
        wait_until((hold / "loading").exists)
        wait_until(checkpoint.exists)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    saved = json.loads(checkpoint.read_text(encoding="utf-8"))
    assert 0 < saved["progress"]["rows"] < len(X)
    assert not result.exists()
    (hold / "release").touch()
    resumed = run(command(rows, result, held_trees, "--workers", workers, "--resume"))
    assert (resumed.returncode, resumed.stdout) == (0, f"2001 rows predicted: {result}\n")
    assert resumed.stderr == f"1 of 2002 rows are in {rows.with_name('bad.jsonl')}\n"
    assert [row["row"] for row in read_result(rows.with_name("bad.jsonl"))] == [2001]
    whole = rows.with_name(f"whole.{form}")
    assert run(command(rows, whole, held_trees)).returncode == 0
    assert result.read_bytes() == whole.read_bytes()
    left = {path.name for path in rows.parent.iterdir() if path.is_file()}
    assert left == {"rows.csv", "bad.jsonl", whole.name, result.name}


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
def test_a_worker_that_is_killed_ends_the_command_in_one_line(
    held_trees: Path, hold: Path, rows: Path
) -> None:
    result = rows.with_name("result.csv")
    with subprocess.Popen(
        command(rows, result, held_trees, "--workers", "2"),
        env=environment(HOLD_LOADS=hold),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until((hold / "loading").exists)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [int(pid) for pid in children.read_text(encoding="ascii").split()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.fullmatch(r"error: a worker process ended by signal 9\. .*--resume.*\n", error)
    assert not result.exists()
    (hold / "release").touch()
    assert run(command(rows, result, held_trees, "--resume")).returncode == 0


def test_rows_come_from_standard_input(model_dir: Path) -> None:
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    row = json.dumps(dict(zip(names, [5.1, 3.5, 1.4, 0.2], strict=True)))
    ended = subprocess.run(
        [sys.executable, "-c", PREDICT, "-", "--model-dir", str(model_dir)],
        env=environment(),
        input=f"{row}\n" * 999,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [json.loads(line)["label"] for line in ended.stdout.splitlines()] == ["setosa"] * 999


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_a_terminal_shows_how_far_the_run_is(held_trees: Path, rows: Path) -> None:
    import pty

    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        command(rows, rows.with_name("result.csv"), held_trees),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=other_end,
    ) as process:
        os.close(other_end)
        shown = b""
        while chunk := _read(terminal):
            shown += chunk
    os.close(terminal)
    assert process.returncode == 0
    assert re.search(rb"\r +\d+% \[#+ +\] \d+ rows, [\d,]+ a second", shown), shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1000)
    except OSError:  # Linux: the other end is closed
        return b""


PEAK = f"""
import atexit, re, sys
from pathlib import Path
from serving_engine import Service, run_command_line
status = Path("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM: *\\t *(\\d+) kB", status.read_text())[1]))
run_command_line(Service("{PACKAGE}"), ["predict", *sys.argv[1:]])
"""
"""The command, which prints its peak of memory at last, in KiB."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/status")
@pytest.mark.parametrize(("kind", "times"), [("csv", 100), ("jsonl", 100), ("parquet", 1000)])
def test_memory_does_not_grow_with_the_file(
    kind: str, times: int, model_dir: Path, tmp_path: Path
) -> None:
    """Twice the rows, which would take 60 MiB more. Those of Parquet are in one row group."""
    peaks = []
    for count in (times, 2 * times):
        file = write_often(tmp_path / f"rows{count}.{kind}", count)
        files = [file, "--output", tmp_path / f"result.{kind}"]
        printed = run_script(PEAK, *files, "--model-dir", model_dir).splitlines()
        assert printed[0].startswith(f"{2000 * count} rows predicted")
        peaks.append(int(printed[1]) * 1024)
    assert peaks[1] - peaks[0] < 32 * 2**20
    assert peaks[1] < 2**29


def write_often(path: Path, count: int) -> Path:
    """Write the rows `count` times, with a fourth column."""
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    table = np.hstack([X, X[:, :1]])
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
        from pyarrow import parquet

        columns = dict(zip(names, np.tile(table.T, count), strict=True))
        plain = {"use_dictionary": False, "compression": "none"}
        parquet.write_table(pyarrow.table(columns), path, len(X) * count, **plain)
        return path
    write_rows(path, [dict(zip(names, row, strict=True)) for row in table.tolist()])
    lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    header = "".join(f"{line}\n" for line in lines[: path.suffix == ".csv"])
    rows = "".join(f"{line}\n" for line in lines[path.suffix == ".csv" :])
    path.write_text(header + rows * count, encoding="utf-8")
    return path
