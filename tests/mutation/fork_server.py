"""Runs pytest in forked copies of a process that has imported the libraries already.

Importing them takes longer than most tests do. The Python of a project's environment runs this
file; it reads a request from each line and answers with the exit code of pytest, all in JSON.
What pytest prints is in `output.txt` then, and the first test that failed in `failed.txt`.
"""

import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])
import processes  # noqa: E402

# The projects have folders `tests` of their own.
del sys.path[0]

LIBRARIES = [
    "fastapi.testclient",
    "hypothesis",
    "pandas",
    "prometheus_client",
    "pydantic_settings",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "skops.io",
    "uvicorn",
]
ONE_THREAD = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
"""A process with threads can't be forked."""

TIMED_OUT = -signal.SIGKILL


def serve() -> None:
    """Answer until there are no more requests."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    for name in ["pytest", *LIBRARIES]:
        importlib.import_module(name)
    for variable in ONE_THREAD:
        del os.environ[variable]
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def answer(folder: str, path: list[str], arguments: list[str], results: str, seconds: float) -> int:
    """The exit code of pytest with these arguments, or TIMED_OUT.

    folder: where pytest runs. path: folders to import from. results: the folder for its files.
    """
    process = processes.fork()
    if not process:
        os._exit(run(folder, path, arguments, Path(results)))
    ended = os.pidfd_open(process)
    if not select.select([ended], [], [], seconds)[0]:
        os.killpg(process, signal.SIGKILL)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(folder: str, path: list[str], arguments: list[str], results: Path) -> int:
    """Run pytest in this process, which is then of no more use."""
    import pytest

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    printed = os.open(results / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.chdir(folder)
    sys.path[:0] = path
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    try:
        code = int(pytest.main(arguments, plugins=[FirstFailure(results / "failed.txt")]))
    except BaseException as error:  # whatever it is, it must not get out into the server
        print(repr(error), flush=True)
        code = 70
    sys.stdout.flush()
    return code


class FirstFailure:
    """A plugin of pytest that writes the test that failed first to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.unlink(missing_ok=True)

    def pytest_configure(self, config: Any) -> None:
        self._root = config.rootpath
        self._folder = Path.cwd()  # tests may change it

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self._file.exists():
            file, _, test = report.nodeid.partition("::")
            path = os.path.relpath(self._root / file, self._folder)
            self._file.write_text(f"{path}::{test}", encoding="utf-8")


if __name__ == "__main__":
    serve()
