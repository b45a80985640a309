"""No process that tests start outlives them, however they end: theirs, and a project's."""

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from . import processes
from .conftest import ROOT, clean_environment, source_of
from .services import comm, wait_until

# A test of the owner's, and one of the engine's, that never ends.
OWNERS = """
import os
from pathlib import Path
from test_service import serve

def test_endless(settings):
    with serve(settings.model_dir) as process, Path(os.environ["LOG"]).open("w") as log:
        for line in process.stderr:
            print(line, file=log, flush=True)
"""
ENGINES = """
import os
import time
from pathlib import Path
from .service import Service

def test_endless(model_dir):
    with Service(model_dir, workers=2) as service:
        Path(os.environ["LOG"]).write_text("".join(service.lines))
        while True:
            time.sleep(1)
"""


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.alone
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.parametrize(
    ("folder", "test", "options", "least"),
    [(".", OWNERS, [], 5), ("engine", ENGINES, ["--numprocesses=2"], 7)],
    ids=["owner", "engine"],
)
def test_nothing_outlives_killed_tests(
    folder: str,
    test: str,
    options: list[str],
    least: int,
    project: Path,
    environment: Path,
    tmp_path: Path,
) -> None:
    """Killed in the middle of a test of a service with workers: pytest cannot clean up."""
    copy = tmp_path / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    owners = copy / "tests" / "test_service.py"
    text = owners.read_text(encoding="utf-8")
    assert text.count('"WORKERS": 1') == 1
    owners.write_text(text.replace('"WORKERS": 1', '"WORKERS": 2'), encoding="utf-8")
    (copy / folder / "tests" / "test_endless.py").write_text(test, encoding="utf-8")
    log, mark = tmp_path / "log", f"TESTS_THAT_ARE_KILLED={uuid4()}"
    variables = dict([mark.split("="), ("LOG", str(log)), ("PYTHONPATH", source_of(copy))])
    with processes.start(
        [environment / "pytest", "-q", *options, "tests/test_endless.py"],
        cwd=copy / folder,
        env=clean_environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as tests:

        def listens() -> bool:
            assert tests.poll() is None, tests.stdout.read()
            return log.exists() and "listening on" in log.read_text()

        try:
            wait_until(listens)
            started = having(mark)
            assert len(started) >= least
            assert set(map(comm, started)) >= {"loader", "worker 0", "worker 1"}
        finally:
            tests.kill()
    wait_until(lambda: not having(mark), 10)


def having(mark: str) -> list[int]:
    """Processes that have a variable: a child inherits it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


SCRIPT = """
import os, sys, time
sys.path.insert(0, {folder!r})
import processes
child = processes.{function}([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.parametrize("function", ["run", "start"])
def test_a_process_ends_with_the_one_that_started_it(function: str) -> None:
    mark = f"TESTS_THAT_ARE_KILLED={uuid4()}"
    script = SCRIPT.format(folder=str(ROOT / "tests"), function=function)
    variables = dict([mark.split("=")])
    with processes.start([sys.executable, "-c", script], env=clean_environment(**variables)) as one:
        try:
            wait_until(lambda: len(having(mark)) == 2, 10)
        finally:
            os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not having(mark), 10)


def test_no_test_starts_a_process_in_another_way() -> None:
    ways = {"run", "Popen", "call", "check_call", "check_output", "getoutput"}
    folder = ROOT / "tests"
    for path in [*folder.glob("*.py"), *folder.glob("mutation/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and path.name != "processes.py":
                called = ast.unparse(node.func)
                assert called not in {f"subprocess.{way}" for way in ways}, (path, node.lineno)
                assert not called.startswith(("os.system", "os.popen", "os.fork")), path
