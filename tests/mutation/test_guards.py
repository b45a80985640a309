"""Break one guard in a rendered project; its own tests must fail. A test that passes with the
guard broken would let somebody remove it."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from .. import processes
from ..conftest import Render, add_sample, clean_environment, source_of
from .breaking import NotOnce, Sources
from .guards import GUARDS, Guard

# Where a rendered project has its packages, and the tests that guards name.
SOURCES = ["src/iris_service", "engine/src/serving_engine"]
TESTS = ["tests", "engine/tests"]

NOTICED_BY = Path(__file__).with_name("noticed_by.json")
"""The test that noticed each guard last time. It is tried first, and all files that the guard names
only where it does not fail: what is missing or outdated here costs time and nothing else.
`REMEMBER_NOTICED_BY=1 make test-rest` writes it."""

PATIENCE = 180
NAMES = {guard.name for guard in GUARDS}
FAILED = 1  # pytest: tests were collected, ran, and some failed


@pytest.fixture(scope="session")
def whole(render: Render) -> Path:
    """The default project with its model, rendered without hooks, and without `model.py`, which is
    of another runtime."""
    project = add_sample(render())
    (project / "src" / "iris_service" / "model.py").unlink()
    return project


@pytest.fixture(scope="session")
def sources(whole: Path) -> Sources:
    """The definitions of that project."""
    return Sources(whole / folder for folder in SOURCES)


def test_no_two_guards_have_one_name() -> None:
    names = [guard.name for guard in GUARDS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_where_it_is_named(guard: Guard, whole: Path, sources: Sources) -> None:
    path, text = break_guard(guard, sources)
    broken = ast.parse(text)
    compile(broken, path, "exec")
    assert ast.dump(broken) != dump_of(path)
    assert files_of(guard, whole)


@cache
def dump_of(path: Path) -> str:
    """What a file says, whatever its layout."""
    return ast.dump(ast.parse(path.read_text(encoding="utf-8")))


class ForkServer:
    """Runs the tests of a project in forked copies of one process; see fork_server.py."""

    def __init__(self, environment: Path, results: Path) -> None:
        self._results = results
        self._process = processes.start(
            [environment / "python", Path(__file__).with_name("fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(PATH=f"{environment}{os.pathsep}{os.environ['PATH']}"),
            text=True,
        )

    def run(self, project: Path, tests: list[str], seconds: float = PATIENCE) -> int:
        """Run tests of a project until one fails; returns the exit code of pytest.

        tests: paths from the project's folder, of files or of tests in them.
        seconds: after which they are killed.
        """
        options = ["--assert=plain", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
        request = {
            "folder": str(project),
            "path": source_of(project).split(os.pathsep),
            "arguments": [*options, *tests],
            "results": str(self._results),
            "seconds": seconds,
        }
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def result(self, name: str) -> str:
        """What the last run left in a file: `output.txt` or `failed.txt`."""
        return (self._results / name).read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End the server."""
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture(scope="session")
def fork_server(
    environment: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """A server of this process's own, and bytecode in the project, which its copies inherit."""
    compiling = [environment / "python", "-m", "compileall", "-q", *SOURCES, *TESTS]
    processes.run(compiling, cwd=whole, check=True)
    server = ForkServer(environment, tmp_path_factory.mktemp("fork_server"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def noticed_by(
    whole: Path, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], None]:
    """Takes each test that failed: it has to pass while no guard is broken.

    That is tried once for each, alone, in the process of pytest-xdist in which it failed first.
    """
    base = tmp_path_factory.getbasetemp()
    taken = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "noticed_by"
    taken.mkdir(exist_ok=True)

    def note(test: str) -> None:
        with suppress(FileExistsError):
            (taken / hashlib.sha256(test.encode()).hexdigest()).touch(exist_ok=False)
            if fork_server.run(whole, [test]):
                pytest.fail(
                    "what noticed a broken guard fails while none is broken:\n"
                    + fork_server.result("output.txt")[-4000:]
                )

    return note


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_broken_guard_is_noticed(
    guard: Guard,
    whole: Path,
    sources: Sources,
    fork_server: ForkServer,
    noticed_by: Callable[[str], None],
    tmp_path: Path,
) -> None:
    project = tmp_path / whole.name
    shutil.copytree(whole, project, copy_function=os.link)
    path, text = break_guard(guard, sources)
    broken = project / path.relative_to(whole)
    broken.unlink()  # it is the unbroken one by another name
    broken.write_text(text, encoding="utf-8")
    printed = ""
    for tests in runs_for(guard, project):
        code = fork_server.run(project, tests)
        printed += fork_server.result("output.txt")
        assert "error during collection" not in printed
        if code == FAILED:
            test = fork_server.result("failed.txt")
            noticed_by(test)
            if "REMEMBER_NOTICED_BY" in os.environ:
                remember(guard, test)
            shutil.rmtree(project)
            return
    pytest.fail(f"not noticed:\n{printed[-4000:]}")


def runs_for(guard: Guard, project: Path) -> Iterator[list[str]]:
    """What is to be run for a guard, one after the other, until something notices."""
    files = files_of(guard, project)
    likely = remembered().get(guard.name, "")
    if likely.partition("::")[0] in files:
        yield [likely]
    for folder in TESTS:  # two suites, each with settings of its own
        suite = [path for path in files if Path(path).parent == Path(folder)]
        if suite:
            yield suite


def remembered() -> dict[str, str]:
    """What is in NOTICED_BY."""
    return json.loads(NOTICED_BY.read_text(encoding="utf-8")) if NOTICED_BY.exists() else {}


def remember(guard: Guard, test: str) -> None:
    """Write down what noticed a guard, and forget guards that are no more."""
    with FileLock(Path(tempfile.gettempdir()) / f"{NOTICED_BY.name}.lock"):
        noticed = {**remembered(), guard.name: test}
        kept = {name: noticed[name] for name in sorted(noticed) if name in NAMES}
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        NOTICED_BY.write_text(f"{text}\n", encoding="utf-8")


def break_guard(guard: Guard, sources: Sources) -> tuple[Path, str]:
    """The file that the guard is in, and its text with the guard broken."""
    try:
        definition = sources.find(guard.definition, guard.module)
        return definition.module.path, guard.broken(definition)
    except NotOnce as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def files_of(guard: Guard, project: Path) -> list[str]:
    """The files of the guard's tests, as paths from the project's folder."""
    return [file_of(name, project) for name in guard.tests]


def file_of(name: str, project: Path) -> str:
    """The one test file of this name, as a path from the project's folder."""
    paths = [f"{folder}/{name}.py" for folder in TESTS]
    here = [path for path in paths if (project / path).exists()]
    if len(here) != 1:
        pytest.fail(f"{name}.py is in {here}, and should be in one of {TESTS}", pytrace=False)
    return here[0]
