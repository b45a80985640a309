"""Rendered projects and one shared environment to run them in."""

import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from . import kept, processes, rendering
from .budget import Costs
from .rendering import ROOT, copy_template

SAMPLE = ROOT / "samples" / "scikit-learn"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background jobs like that, and they hand it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--budget` fails a run that takes too long; see budget.py."""
    parser.addoption("--budget", type=float, default=0, help="seconds on two idle cores")


def pytest_configure(config: pytest.Config) -> None:
    """A process that pytest-xdist started ends with the process that started it."""
    worker = hasattr(config, "workerinput")
    if worker:
        processes.die_with_parent()
    unbounded = worker or "ALL_COMBINATIONS" in os.environ
    budget = 0 if unbounded else config.getoption("budget")
    config.pluginmanager.register(Costs(config, budget), "costs")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that begins last would run while all else has ended."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors: what runs in parallel waits for half of its time."""
    return (os.cpu_count() or 2) * 3 // 2


OWNER_CHECKS = ["ruff check", "ruff format --check", "mypy", "pytest"]
"""What the README tells the owner to run."""

Render = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def whole_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is now, without what tools have left in its folders."""
    return copy_template(tmp_path_factory.mktemp("template") / "cookiecutter-model-serving")


@pytest.fixture(scope="session")
def render(whole_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render the template in this process, without hooks, into a folder of its own."""

    def render(**answers: str) -> Path:
        out = tmp_path_factory.mktemp("rendered") / "out"
        return rendering.render(out, whole_template, hooks=False, **answers)

    return render


@pytest.fixture(scope="session")
def generate(whole_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Generate a project as a user does: the command, its hooks, the template's own sample."""

    def generate(**answers: str) -> Path:
        out = tmp_path_factory.mktemp("generated")
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config"]
        command += ["--output-dir", out, whole_template, *(f"{k}={v}" for k, v in answers.items())]
        processes.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        (project,) = out.iterdir()
        return project

    return generate


MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Make something in a folder that all processes of pytest-xdist share; the first one makes it.

    Returns the folder, whose files nobody may change.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not (shared / f"{name}.made").exists():
                make(folder)
                (shared / f"{name}.made").touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def project(generate: Render, make_once: MakeOnce) -> Path:
    """The default project, with its model."""
    return make_once("iris-service", lambda folder: generate().rename(folder))


@pytest.fixture(scope="session")
def environment(whole_template: Path, generate: Render) -> Path:
    """The bin folder of an environment of the default project's, with every library of the
    engine's: every combination can run in it. What is installed is a project of its own."""

    def sync(folder: Path) -> None:
        project = generate().rename(folder / "iris-service")
        # Hundreds of processes run in it, so that it pays to compile all of it before.
        groups = ["--extra", "package", "--group", "engine"]
        uv(project, "sync", "--quiet", *groups, UV_COMPILE_BYTECODE="1")
        python = environment_of(project) / "python"
        processes.run(
            ["uv", "pip", "install", "--quiet", "--python", python, "pytest-cov"], check=True
        )

    made_from = kept.key(whole_template, inspect.getsource(sync))
    return environment_of(kept.keep(kept.home(), made_from, sync) / "iris-service")


@pytest.fixture(scope="session")
def run_in(environment: Path) -> Run:
    """Run a tool of the shared environment in a project, on that project's own source."""

    return partial(run_tool, environment)


def run_tool(
    environment: Path, project: Path, tool: str, *arguments: str, folder: str = "."
) -> subprocess.CompletedProcess[str]:
    """Run a tool of an environment, given its bin folder, on a project's own source.

    folder: where in the project the tool runs.
    """
    return processes.run(
        [environment / tool, *arguments],
        cwd=project / folder,
        env=clean_environment(
            PYTHONPATH=source_of(project),
            PATH=f"{environment}{os.pathsep}{os.environ['PATH']}",
            VIRTUAL_ENV=str(environment.parent),
        ),
        capture_output=True,
        text=True,
        check=False,
    )


def source_of(project: Path) -> str:
    """PYTHONPATH for a project's own package and its own engine, whatever is installed."""
    return os.pathsep.join([str(project / "src"), str(project / "engine" / "src")])


def uv(project: Path, *arguments: str, **variables: str) -> None:
    """Run uv in a project with this interpreter."""
    processes.run(
        ["uv", *arguments, "--python", sys.executable],
        cwd=project,
        env=clean_environment(UV_PYTHON_DOWNLOADS="never", **variables),
        check=True,
    )


def environment_of(project: Path) -> Path:
    """The bin folder of a project's own environment."""
    return bin_of(project / ".venv")


def bin_of(environment: Path) -> Path:
    """The folder of an environment that has its commands."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def clean_environment(**variables: str) -> Mapping[str, str]:
    """This process's variables without those that point at its own environment, and `variables`."""
    own = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PYTHONPATH"}
    return {**{k: v for k, v in os.environ.items() if k not in own}, **variables}


def passed(ended: subprocess.CompletedProcess[str]) -> None:
    """Fail with the output of a command that failed."""
    assert ended.returncode == 0, f"{ended.args}\n{ended.stdout[-5000:]}\n{ended.stderr[-5000:]}"


def add_sample(project: Path) -> Path:
    """Put the sample model into a project that was rendered without hooks."""
    shutil.copytree(SAMPLE, project / "model")
    return project
