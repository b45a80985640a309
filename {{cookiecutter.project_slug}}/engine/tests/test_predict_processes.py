"""The command `predict` in processes: several workers, a kill, a terminal, little memory."""

import json
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
from .service import PACKAGE, environment, run, wait_until
from .test_predict import NAMES, X, as_rows, read_result, write_rows


def command(rows: Path, result: Path, model: Path, *arguments: str) -> list[str]:
    paths = [str(rows), "--output", str(result), "--model-dir", str(model)]
    return ["predict", *paths, *arguments]


@pytest.fixture(scope="module")
def held_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that holds up rows with a number over 1000."""
    model = make_pipeline(
        transformers.Held(above=1000), GradientBoostingClassifier(n_estimators=3, random_state=0)
    ).fit(X, X[:, 0] > 5)
    directory = tmp_path_factory.mktemp("held") / "model"
    held = f"{transformers.__name__}.Held"
    return package_estimator(model, NAMES, X[:10], directory, trusted_types=[held])


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
@pytest.mark.parametrize(("form", "workers"), [("csv", "1"), ("jsonl", "2"), ("parquet", "3")])
def test_a_run_that_was_killed_goes_on_to_the_same_result(
    form: str, workers: str, held_trees: Path, hold: Path, tmp_path: Path
) -> None:
    """Killed at a checkpoint, before the end: nothing has the name of the result before."""
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
    table = np.tile(X, (60, 1))
    table[-1] = 5000
    rows = write_rows(tmp_path / "rows.csv", as_rows(table))
    with rows.open("a", encoding="utf-8") as file:
        file.write("bad,row,0\n")
    whole, result = tmp_path / f"whole.{form}", tmp_path / f"result.{form}"
    bad = ["--workers", workers, "--on-error", str(tmp_path / "bad.jsonl")]
    with subprocess.Popen(
        [sys.executable, "-m", PACKAGE, *command(rows, result, held_trees, *bad)],
        env=environment(HOLD_LOADS=hold),
        start_new_session=True,
    ) as process:
        wait_until((hold / "loading").exists)
        wait_until((tmp_path / f"{result.name}.checkpoint").exists)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    saved = json.loads((tmp_path / f"{result.name}.checkpoint").read_text(encoding="utf-8"))
    assert 0 < saved["progress"]["rows"] < len(table)
    assert not result.exists()
    (hold / "release").touch()
    resumed = run(*command(rows, result, held_trees, "--resume", *bad))
    assert resumed.returncode == 0, resumed.stdout
    assert "1 of 120001 rows are in" in resumed.stdout
    assert [row["row"] for row in read_result(tmp_path / "bad.jsonl")] == [120000]
    assert run(*command(rows, whole, held_trees, *bad)).returncode == 0
    assert result.read_bytes() == whole.read_bytes()
    names = {"rows.csv", "bad.jsonl", whole.name, result.name, hold.name}
    assert {path.name for path in tmp_path.iterdir()} == names
