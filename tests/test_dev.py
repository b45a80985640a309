"""`make dev`: an edit is rendered, linted, typed and tested, and the report says what was found."""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import processes
from .conftest import ROOT, clean_environment
from .dev import affected
from .rendering import PACKAGE, PROJECT, copy_template

ENGINE = ROOT / PROJECT / "engine"
PATIENCE = 300


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("src/serving_engine/telemetry/span_export.py", "test_traces"),  # which imports it
        ("src/serving_engine/protocols/mlflow/__init__.py", "test_mlflow"),  # is named for it
        ("src/serving_engine/model_files/read_artifact.py", "test_load"),  # has tests of its guards
        ("tests/collector.py", "test_traces"),  # uses it
        ("tests/test_heap.py", "test_heap"),
    ],
)
def test_a_change_concerns_the_tests_that_import_or_name_it(changed: str, tests: str) -> None:
    found = affected.tests_of(ENGINE / changed, ENGINE / "src" / "serving_engine", ENGINE / "tests")
    assert tests in [path.stem for path in found]


class Watching:
    """`make dev` of a copy of the template."""

    def __init__(self, template: Path, environment: Path) -> None:
        command = [sys.executable, "-m", "tests.dev", "watch", "--template", str(template)]
        self._process = processes.start(
            [*command, "--environment", str(environment)],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip())

    def wait_for(self, *beginnings: str) -> tuple[str, str]:
        """The first line that begins with one of these, and all that was printed until then."""
        printed = ""
        while True:
            line = self._lines.get(timeout=PATIENCE)
            printed += f"{line}\n"
            if line.startswith(beginnings):
                return line, printed

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return copy_template(tmp_path / "template")


@pytest.fixture
def watching(template: Path, environment: Path) -> Iterator[Watching]:
    watching = Watching(template, environment)
    watching.wait_for("watching ")
    yield watching
    watching.close()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.thorough
def test_an_edit_is_rendered_linted_typed_and_tested(template: Path, watching: Watching) -> None:
    engine = template / PROJECT / "engine" / "src" / "serving_engine"
    edit(engine / "schema" / "text_cells.py", "import ", "import os\nimport ")
    line, printed = watching.wait_for("ok in ", "FAILED in ")
    assert "engine lint FAILED" in line
    assert "F401" in printed
    assert "engine types" in line
    assert "engine tests" in line
    assert line.count("FAILED") == 2  # the verdict, and lint

    routes = template / PROJECT / "src" / PACKAGE / "routes.py"
    edit(routes, '"/predict"', '"/forecast"')
    line, printed = watching.wait_for("FAILED in ")
    assert "owner tests" in line
    assert "404" in printed
    assert "owner lint" in line
    assert "owner types" in line
    assert line.count("FAILED") == 2
    copies = template / ".dev" / "project" / "iris-service" / "src" / "iris_service"
    assert '"/forecast"' in (copies / "routes.py").read_text(encoding="utf-8")

    edit(template / PROJECT / "README.md", "# ", "# {% if %}")
    line, printed = watching.wait_for("ok in ", "FAILED in ")
    assert line.endswith("rendered FAILED")
    assert "TemplateSyntaxError" in printed
