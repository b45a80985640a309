"""Watches the template, and checks each change: rendered, linted, typed and tested."""

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .. import processes
from ..rendering import PROJECT
from . import affected
from .checks import lint, types_of_engine, types_of_owner
from .project import Project
from .suites import LONGEST, Ran, Runner, Suite

SECONDS = 1.2
"""No test begins later than this after the tests have begun: the others wait until all is quiet."""

LOOK_EVERY = 0.2
WATCHED = ["cookiecutter.json", "hooks", "templates", PROJECT, "tests"]
LITTER = {"__pycache__", ".hypothesis", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def work(project: Project, *, serve: bool) -> None:
    """Render, install, then check each change until Ctrl-C."""
    print("rendering and installing a project", flush=True)
    project.render()
    project.install()
    with contextlib.ExitStack() as stack:
        if serve:
            stack.enter_context(served(project))
        Loop(project).run()


@contextlib.contextmanager
def served(project: Project) -> Iterator[None]:
    """`serve --reload` of the project, whose log goes to this terminal."""
    command = [project.bin / "python", "-m", project.package, "serve", "--reload"]
    service = processes.start(command, cwd=project.folder, env=project.variables())
    try:
        yield
    finally:
        service.terminate()
        service.wait()


class Loop:
    """Looks for changes, and keeps the tests that there was no time for."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runner = Runner(project)
        self._pool = ThreadPoolExecutor(2)
        self._left: list[tuple[Suite, list[str]]] = []
        self._changes: queue.Queue[set[Path]] = queue.Queue()

    def run(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()
        for check in (types_of_engine, types_of_owner):  # fills the caches
            self._pool.submit(check, self._project)
        while True:
            changed = self._next_change()
            self._runner.changed.unlink(missing_ok=True)
            if changed is None:
                self._run_what_was_left()
            else:
                self._check(changed)

    def _watch(self) -> None:
        """Put each set of changed files into the queue.

        It looks at the files, as uvicorn does: that works on every system and in every folder.
        """
        before = snapshot(self._project.template)
        print(f"watching {self._project.template}", flush=True)
        while True:
            time.sleep(LOOK_EVERY)
            now = snapshot(self._project.template)
            if changed := {path for path, _ in before.items() ^ now.items()}:
                self._changes.put(changed)
                self._runner.changed.touch()
            before = now

    def _next_change(self) -> set[Path] | None:
        """The files that have changed; None if nothing does and tests were left."""
        try:
            changed = self._changes.get(timeout=0.5 if self._left else None)
        except queue.Empty:
            return None
        while not self._changes.empty():
            changed |= self._changes.get()
        return changed

    def _check(self, changed: set[Path]) -> None:
        """Check what some files concern, and say what was done and how long it took."""
        started = time.monotonic()
        names = sorted(path.relative_to(self._project.template).as_posix() for path in changed)
        print(f"\n{', '.join(names)}", flush=True)
        done: dict[str, bool] = {}
        try:
            rendered = self._render(changed)
        except Exception as error:  # of any kind: a template that is being edited
            print(f"{type(error).__name__}: {error}", flush=True)
            done["rendered"] = False
            rendered = []
        if rendered:
            done["rendered"] = True
        waiting = self._start_checks(changed, rendered)
        self._left = []
        left = 0
        for suite, tests in self._suites(changed, rendered):
            ran = self._runner.run(suite, tests, SECONDS)
            done[f"{ran.passed} {suite.name} tests"] = self._shown(ran)
            if ran.left:
                self._left.append((suite, ran.left))
                left += len(ran.left)
        done.update((name, check.result()) for name, check in waiting.items())
        verdict = "ok" if all(done.values()) else "FAILED"
        parts = [name if good else f"{name} FAILED" for name, good in done.items()]
        later = f"; {left} longer tests follow" if left else ""
        took = time.monotonic() - started
        print(
            f"{verdict} in {took:.1f} s: {', '.join(parts) or 'nothing to check'}{later}",
            flush=True,
        )

    def _render(self, changed: set[Path]) -> list[str]:
        """Bring the project up to date; return the paths that were written in it."""
        template = self._project.template
        whole = [template / name for name in ("cookiecutter.json", "hooks", "templates")]
        if any(path.is_relative_to(root) for path in changed for root in whole):
            return self._project.render()
        inside = [path for path in changed if path.is_relative_to(template / PROJECT)]
        names = [path.relative_to(template / PROJECT).as_posix() for path in inside]
        written = [path for name in names if (path := self._project.render_file(name))]
        if any(path.endswith("pyproject.toml") for path in written):
            self._project.install()
        return written

    def _start_checks(self, changed: set[Path], rendered: list[str]) -> dict[str, "Future[bool]"]:
        """Lint and types, each in a thread."""
        started: dict[str, Future[bool]] = {}

        def start(name: str, check: Callable[..., bool], *arguments: object) -> None:
            started[name] = self._pool.submit(check, self._project, *arguments)

        python = {path for path in changed if path.suffix == ".py" and path.exists()}
        of_engine = [str(path) for path in python if path.is_relative_to(self._project.engine)]
        of_tests = [
            str(path) for path in python if path.is_relative_to(self._project.template / "tests")
        ]
        of_owner = [path for path in rendered if path.endswith(".py") and owned(path)]
        if of_engine:
            start("engine lint", lint, self._project.engine, of_engine)
        if any(Path(path).is_relative_to(self._project.engine / "src") for path in of_engine):
            start("engine types", types_of_engine)
        if of_owner:
            start("owner lint", lint, self._project.folder, of_owner)
            start("owner types", types_of_owner)
        if of_tests:
            start("lint", lint, self._project.template, of_tests)
        return started

    def _suites(self, changed: set[Path], rendered: list[str]) -> Iterator[tuple[Suite, list[str]]]:
        """The tests that a change concerns, by suite."""
        project = self._project
        source = project.engine / "src" / "serving_engine"
        tests = project.engine / "tests"
        of_engine = {
            str(test.relative_to(project.engine))
            for path in changed
            if path.suffix == ".py" and path.is_relative_to(project.engine)
            for test in affected.tests_of(path, source, tests)
        }
        if of_engine:
            yield (
                Suite("engine", project.engine, [source.parent, project.engine]),
                sorted(of_engine),
            )
        if any(owned(path) for path in rendered):
            path = [project.folder / "src", project.folder / "engine" / "src"]
            yield Suite("owner", project.folder, path), ["tests"]
        of_template = {
            str(test.relative_to(project.template))
            for path in changed
            for test in affected.template_tests_of(path, project.template)
        }
        if of_template:
            options = ["-n0", "-m", "not slow"]
            python = Path(sys.executable)
            suite = Suite("template", project.template, [], options, python)
            yield suite, sorted(of_template)

    def _run_what_was_left(self) -> None:
        suite, tests = self._left.pop(0)
        ran = self._runner.run(suite, tests, LONGEST)
        good = self._shown(ran)
        if ran.left:
            self._left.append((suite, ran.left))
        print(f"{'ok' if good else 'FAILED'}: {ran.passed} longer {suite.name} tests", flush=True)

    def _shown(self, ran: Ran) -> bool:
        """Whether no test failed; else what pytest printed is shown."""
        if ran.failed:
            print(ran.output.rstrip(), flush=True)
        return not ran.failed


def owned(path: str) -> bool:
    """Whether a file of a project is code of its owner, its settings, or its model."""
    return path.startswith(("src/", "tests/", "model/")) or path == "pyproject.toml"


def snapshot(template: Path) -> dict[Path, int]:
    """When each file was written that is watched."""
    found: dict[Path, int] = {}
    waiting = [template / name for name in WATCHED]
    while waiting:
        path = waiting.pop()
        with contextlib.suppress(FileNotFoundError):  # an editor has just replaced it
            if path.is_dir():
                waiting += [inner for inner in path.iterdir() if inner.name not in LITTER]
            else:
                found[path] = path.stat().st_mtime_ns
    return found
