"""Runs tests that a change concerns: quick ones at once, the others while nothing changes."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import processes
from .project import Project

HERE = Path(__file__).parent
FORK_SERVER = HERE.parent / "mutation" / "fork_server.py"
LONGEST = 600.0
"""Seconds that a run may take in all."""


@dataclass(frozen=True)
class Suite:
    """A folder with tests and settings of pytest.

    path: folders that it imports from. python: if that of the project's environment won't do.
    """

    name: str
    folder: Path
    path: Sequence[Path]
    options: Sequence[str] = ("-n0",)
    python: Path | None = None


@dataclass(frozen=True)
class Ran:
    """What a run has done. left: the ids of the tests that it did not come to."""

    passed: int
    failed: int
    left: list[str]
    output: str


class Runner:
    """Runs pytest with the Python of a project's environment.

    On Linux in forked copies of a process that has imported the libraries, which takes longer than
    most tests do.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._results = project.state / "results"
        self._results.mkdir(exist_ok=True)
        self._server = self._start_server() if sys.platform == "linux" else None

    def _start_server(self) -> "subprocess.Popen[str]":
        return processes.start(
            [self._project.bin / "python", FORK_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._variables(self._results),
            text=True,
            start_new_session=True,  # Ctrl-C is for the process that ends this one
        )

    def _variables(self, results: Path) -> dict[str, str]:
        return self._project.variables(DEV_RUN=str(results))

    @property
    def changed(self) -> Path:
        """While this file exists, a run ends after the test that it is at."""
        return self._results / "changed"

    def run(self, suite: Suite, tests: Sequence[str], limit: float) -> Ran:
        """Run tests: paths or ids, as pytest takes them. limit: no other test begins after it."""
        (self._results / "limit").write_text(json.dumps(limit), encoding="utf-8")
        record = self._results / "ran.json"
        record.unlink(missing_ok=True)
        options = ["-q", "-p", "quick_first", "-p", "no:cacheprovider", "--tb=short", "--maxfail=5"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what a fork inherits
        arguments = [*options, *suite.options, *tests]
        path = [str(folder) for folder in (*suite.path, HERE)]
        if self._server and not suite.python:
            self._run_forked(suite.folder, path, arguments)
        else:
            self._run_anew(
                suite.python or self._project.bin / "python", suite.folder, path, arguments
            )
        output = (self._results / "output.txt").read_text(encoding="utf-8", errors="replace")
        if record.exists():
            return Ran(**json.loads(record.read_text(encoding="utf-8")), output=output)
        return Ran(0, 1, [], output)  # pytest ended before it had begun

    def _run_forked(self, folder: Path, path: list[str], arguments: list[str]) -> None:
        request = {
            "folder": str(folder),
            "path": path,
            "arguments": arguments,
            "results": str(self._results),
            "seconds": LONGEST,
        }
        assert self._server
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps(request), file=self._server.stdin, flush=True)
        self._server.stdout.readline()

    def _run_anew(self, python: Path, folder: Path, path: list[str], arguments: list[str]) -> None:
        with (self._results / "output.txt").open("w", encoding="utf-8") as output:
            processes.run(
                [python, "-m", "pytest", *arguments],
                cwd=folder,
                env=self._variables(self._results) | {"PYTHONPATH": os.pathsep.join(path)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONGEST,
                check=False,
            )
