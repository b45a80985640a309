"""Linter, formatter and types: of the engine as it is, and of an owner's code as rendered.

The engine holds no Jinja, so that its files are checked where they are edited.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import processes
from .project import Project

OURS = ("benchmarks", "docs/site", "observability", "samples", "tests")
"""Folders of the template's own Python. What ruff finds in hooks is Jinja."""
LINUX_ONLY = (
    "cli.predict.workers",
    "process.fork",
    "process.generation",
    "process.loader_channel",
    "process.shadow_trial",
    "process.signal_wakeup",
    "process.supervisor",
)
"""Modules of the engine that other systems never import: they use what those lack."""


def lint_all(project: Project, *, fix: bool) -> bool:
    """Lint and format the template's own Python, the engine, and the owner's code."""
    ours = [name for name in OURS if (project.template / name).exists()]
    clean = [
        lint(project, project.template, ours, fix=fix),
        lint(project, project.engine, ["."], fix=fix),
    ]
    with tempfile.TemporaryDirectory(dir=project.state) as scratch:
        rendered = Project(project.template, Path(scratch), project.answers, project.bin)
        rendered.render(prune=False)
        clean.append(lint(project, rendered.folder, ["src", "tests"]))
    return all(clean)


def typecheck_all(project: Project) -> bool:
    """Check the types of the engine and of the owner's code."""
    project.render()
    project.install()
    return all([types_of_engine(project), types_elsewhere(project), types_of_owner(project)])


def lint(project: Project, folder: Path, paths: Sequence[str], *, fix: bool = False) -> bool:
    """Whether ruff finds nothing in files of a folder, by the settings there, or has mended it."""
    ruff = [sys.executable, "-m", "ruff"]
    linted = run(project, [*ruff, "check", "--quiet", *(["--fix"] if fix else []), *paths], folder)
    diff = [] if fix else ["--diff"]
    return run(project, [*ruff, "format", "--quiet", *diff, *paths], folder) and linted


def types_of_engine(project: Project) -> bool:
    source = str(project.engine / "src")
    return mypy(project, project.engine, "engine", "--config-file=pyproject.toml", MYPYPATH=source)


def types_elsewhere(project: Project) -> bool:
    """Whether the engine's types hold on macOS and Windows, but for what they never import."""
    modules = [f"serving_engine.{module}" for module in LINUX_ONLY]
    skipped = f"\n[[tool.mypy.overrides]]\nmodule = {modules}\nignore_errors = true\n"
    settings = (project.engine / "pyproject.toml").read_text(encoding="utf-8")
    config = project.state / "elsewhere.toml"
    config.write_text(settings + skipped, encoding="utf-8")
    source = str(project.engine / "src")
    return all(
        mypy(
            project,
            project.engine,
            system,
            f"--config-file={config}",
            f"--platform={system}",
            source,
            MYPYPATH=source,
        )
        for system in ("darwin", "win32")
    )


def types_of_owner(project: Project) -> bool:
    return mypy(project, project.folder, "owner")


def mypy(project: Project, folder: Path, name: str, *options: str, **variables: str) -> bool:
    """Whether mypy finds nothing. Not its daemon, which ends where a package is skipped."""
    cache = f"--cache-dir={project.state / 'mypy' / name}"
    command = [project.bin / "mypy", cache, "--no-error-summary", *options]
    return run(project, command, folder, **variables)


def run(project: Project, command: Sequence[object], folder: Path, **variables: str) -> bool:
    """Run a tool; show what it printed if it failed."""
    ended = processes.run(
        [str(word) for word in command],
        cwd=folder,
        env=project.variables(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        print(f"{folder}:\n{ended.stdout.rstrip()}", flush=True)
    return not ended.returncode
