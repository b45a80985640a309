"""People's own models: every kind of them, and the page that tells how, followed word by word."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import processes
from .conftest import ROOT, Render, Run, clean_environment, passed
from .markdown import blocks, put
from .servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PATIENCE = 300
YOUR_MODEL = ROOT / "tests" / "your_model"
PAGE = "docs/your-own-model.md"
SERVE = "uv run iris-service serve"


@pytest.fixture(scope="module")
def own_project(generate: Render) -> Path:
    """A default project of these tests' own."""
    return generate()


# Every kind of model


def test_every_kind_of_model_is_packaged_and_served(own_project: Path, run_in: Run) -> None:
    copy = own_project.parent / "kinds"
    shutil.copytree(own_project, copy)
    shutil.copytree(YOUR_MODEL, copy / "tests" / "your_model")
    (copy / "tests" / "your_model" / "__init__.py").touch()
    with (copy / "src" / "iris_service" / "transformers.py").open("a") as source:
        source.write((YOUR_MODEL / "transformer.txt").read_text())
    tests = ["--numprocesses=auto", "tests/your_model/check_kinds.py"]
    ended = run_in(copy, "pytest", "-q", *tests)
    kinds = len(re.findall(r'^    "[^"]+": ', (YOUR_MODEL / "kinds.py").read_text(), re.MULTILINE))
    assert re.search(r"^(\d+) passed in", ended.stdout, re.MULTILINE), ended.stdout[-5000:]
    assert int(re.findall(r"(\d+) passed", ended.stdout)[-1]) == 6 * kinds


# The page


class Reader:
    """Somebody who types what the page says, in the project's folder."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.text = (project / PAGE).read_text(encoding="utf-8")
        self.port = free_port()
        self.service: subprocess.Popen[str] | None = None
        self.said: list[str] = []
        self.printed = ""

    def read(self) -> None:
        """Follow every block of the page, in order."""
        for kind, block, *_ in blocks(self.text):
            if kind == "python":
                put(block, self.project)
            elif kind == "sh":
                self.printed = ""
                self.said = [self.type(line) for line in block.splitlines()]
            elif kind == "text":
                self.expect(block)
            elif kind == "py":  # a fragment
                continue
            else:
                assert kind == "json"
                expected, found = json.loads(block), json.loads(self.said[-1])
                assert contains(found, expected), (expected, found)

    def type(self, line: str) -> str:
        """What a command prints; it must succeed. A service keeps running."""
        if line == SERVE:
            self.serve()
            return ""
        if not line.startswith("curl "):
            self.stop()
        typed = line.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        ended = run(shlex.split(typed), self.project)
        assert ended.returncode == 0, f"{line}\n{ended.stdout[-5000:]}\n{ended.stderr[-5000:]}"
        self.printed += ended.stdout + ended.stderr
        return ended.stdout

    def expect(self, block: str) -> None:
        """Lines that were printed; an ellipsis stands for what differs between machines."""
        for line in block.splitlines():
            pattern = ".*".join(map(re.escape, line.split("…")))
            found = re.search(f"^(- )?{pattern}$", self.printed, re.MULTILINE)
            assert found, (line, self.printed)

    def serve(self) -> None:
        self.service = processes.start(
            SERVE.split(),
            cwd=self.project,
            env=environment(SERVING_PORT=str(self.port)),
            death=signal.SIGTERM,  # uv passes it on to the service
        )
        deadline = time.monotonic() + PATIENCE
        while not ready(self.port):
            assert self.service.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        """Ctrl-C."""
        if self.service is not None:
            self.service.terminate()
            self.service.wait(PATIENCE)
            self.service = None


@pytest.fixture
def reader(generate: Render, request: pytest.FixtureRequest) -> Iterator[Reader]:
    someone = Reader(generate(model_runtime=request.param))
    yield someone
    someone.stop()


NEEDS = {
    "scikit-learn": {"scikit-learn", "skops", "pandas"},
    "onnx": {"onnxruntime"},
    "python": {"pandas"},
}
"""What the model of each page needs besides Python and NumPy. That of LightGBM is an extra of the
engine, which is its own bound."""


@pytest.mark.parametrize("reader", NEEDS, indirect=True, ids=list(NEEDS))
def test_the_page_can_be_followed_word_by_word(
    reader: Reader, request: pytest.FixtureRequest
) -> None:
    runtime = request.node.callspec.params["reader"]
    reader.read()
    shown = json.loads(reader.said[-1])
    assert (shown["name"], shown["version"]) == ("churn", "1")
    assert set(shown["built_with"]) == {"python", "numpy"} | NEEDS[runtime]
    assert shown["probes"] == dict.fromkeys(["thread_safe", "row_independent", "fork_safe"], True)
    if runtime == "scikit-learn":
        assert shown["source"]["file"] == "churn.joblib"
        assert shown["artifact"]["trusted_types"] == ["numpy.dtype"]
    kept = reader.project / "model" / ".previous" / "manifest.json"
    assert json.loads(kept.read_bytes())["version"] == "2"
    reader.type("uv run iris-service model restore")
    restored = json.loads(reader.type("uv run iris-service model show"))
    assert restored["version"] == "2"


def test_the_projects_tests_are_about_its_model_whatever_that_is(
    own_project: Path, run_in: Run
) -> None:
    copy = own_project.parent / "tested"
    shutil.copytree(own_project, copy)
    shutil.copy(YOUR_MODEL / "three.py", copy)
    passed(run_in(copy, "python", "three.py"))
    for layout in ("array", "frame", "text"):
        package = ["model", "package", f"{layout}.joblib", "--examples", f"{layout}.csv"]
        passed(run_in(copy, "python", "-m", "iris_service", *package))
        manifest = json.loads((copy / "model" / "manifest.json").read_bytes())
        assert manifest["signature"]["layout"] == layout
        passed(run_in(copy, "pytest", "-q"))
        described = run_in(copy, "python", "-c", DOCUMENT)
        passed(described)
        assert not re.search("sepal|petal|setosa|versicolor|virginica", described.stdout)


DOCUMENT = """
import json
from fastapi.testclient import TestClient
from iris_service.app import create_app
with TestClient(create_app()) as client:
    print(client.get("/openapi.json").text, client.get("/model").text)
"""


def contains(found: Any, expected: Any) -> bool:
    """Whether all that is expected is found, among other members of objects."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and contains(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(contains, found, expected))
    return found == expected


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def environment(**variables: str) -> dict[str, str]:
    own = {"UV_PYTHON_DOWNLOADS": "never", "NO_PROXY": "*"}
    return {**clean_environment(**own), **variables}


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return processes.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
