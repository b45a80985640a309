"""macOS and Windows, as far as Linux can tell: what they lack is missing in the engine."""

import json
import signal
import sys
from pathlib import Path

import pytest

from .other_system import LACKS
from .service import Service, run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs on that system itself")

PRETEND = """
from tests.other_system import pretend
pretend("{}")
"""

COMMANDS = """
import sys
from serving_engine import Service, run_command_line
for words in [
    ["predict", sys.argv[2], "--workers", "2", "--output", sys.argv[1]],
    ["predict", sys.argv[2], "--output", sys.argv[1]],
    ["serve", "--workers", "2"],
]:
    try:
        run_command_line(Service("tests.example_service"), [*words, *sys.argv[3:]])
    except SystemExit as end:
        print("code", end.code, flush=True)
"""

ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.mark.parametrize("system", LACKS)
def test_one_process_serves_and_ends_as_asked(system: str, model_dir: Path) -> None:
    with Service(model_dir, patches=PRETEND.format(system)) as service:
        assert service.get("/readyz").status_code == 200
        assert service.predict([ROW]).json()["predictions"][0]["label"] == "setosa"
        assert service.scrape()
        assert service.stop(signal.SIGINT) == 0


def test_several_workers_are_refused_in_one_line_and_a_file_is_predicted(
    model_dir: Path, tmp_path: Path
) -> None:
    model = json.loads((model_dir / "manifest.json").read_text(encoding="utf-8"))
    rows = tmp_path / "rows.csv"
    names = ",".join(column["name"] for column in model["signature"]["inputs"])
    rows.write_text(f"{names}\n{','.join(map(str, ROW))}\n", encoding="utf-8")
    result = tmp_path / "result.jsonl"
    printed = run_script(PRETEND.format("win32") + COMMANDS, result, rows, "--model-dir", model_dir)
    refused, *file, workers, last = printed.splitlines()
    assert "need Linux" in refused
    assert file[0] == "code 2"
    assert file[-1] == "code 0"
    assert "SERVING_WORKERS=2 is unsupported" in workers
    assert "Set SERVING_WORKERS=1" in workers
    assert "code 2" in last
    assert json.loads(result.read_text(encoding="utf-8"))["label"] == "setosa"
