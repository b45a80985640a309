"""A project that is rendered from the template, kept up to date, and has an environment."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cookiecutter.generate import generate_file, is_copy_only_path
from cookiecutter.utils import create_env_with_context, work_in
from jinja2 import FileSystemLoader

from .. import processes, rendering
from ..conftest import bin_of, clean_environment, source_of
from ..rendering import PROJECT


class Project:
    """A project in `state`, rendered from `template` with `answers`.

    environment: the folder of commands of an environment that has all that the engine's tests
    need; one is made if there is none.
    """

    def __init__(
        self, template: Path, state: Path, answers: dict[str, str], environment: Path | None
    ) -> None:
        self.template = template
        self.engine = template / PROJECT / "engine"
        self.state = state
        self.answers = answers
        self.bin = environment or bin_of(state / "environment")
        self._makes_environment = environment is None
        self._rendered: dict[str, bytes] = {}
        state.mkdir(parents=True, exist_ok=True)
        self._read_answers()

    def _read_answers(self) -> None:
        context = rendering.context(self.template, **self.answers)
        self._context = {"cookiecutter": context["cookiecutter"]}
        self.folder = self.state / "project" / context["cookiecutter"]["project_slug"]

    def render(self, *, prune: bool = True) -> list[str]:
        """Render all of it, and write what differs; return the paths of that.

        prune: as the hook does it; else it has the owner's files of every answer.
        """
        self._read_answers()
        with tempfile.TemporaryDirectory(dir=self.state) as scratch:
            output = Path(scratch, "rendered")
            made = rendering.render(output, self.template, hooks=False, **self.answers)
            new = rendering.files(made)
        new |= self._model()
        for path in self._absent() if prune else ():
            del new[path]
        if not self._rendered:
            shutil.rmtree(self.folder.parent, ignore_errors=True)
        changed = [path for path in new if new[path] != self._rendered.get(path)]
        gone = [path for path in self._rendered if path not in new]
        for path in changed:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(new[path])
        for path in gone:
            (self.folder / path).unlink(missing_ok=True)
        self._rendered = new
        return changed + gone

    @property
    def package(self) -> str:
        return self._context["cookiecutter"]["__package_name"]

    def _model(self) -> dict[str, bytes]:
        """The files of the sample model."""
        samples = self.template / "samples" / self._context["cookiecutter"]["model_runtime"]
        return {f"model/{path}": content for path, content in rendering.files(samples).items()}

    def _absent(self) -> set[str]:
        """The files that a project with these answers does not have."""
        answers = self._context["cookiecutter"]
        optional = rendering.optional_files(answers["_optional"], self.package)
        return {
            path
            for path, needs in optional.items()
            if any(answers[key] not in choices for key, choices in needs.items())
        }

    def render_file(self, name: str) -> str | None:
        """Render one file of the template's project folder, or remove it where that has it no more;
        return its path in the project, or None if this project has no such file.

        name: its path from the template's project folder.
        """
        path = rendering.in_project(name, self.package)
        if path in self._absent():
            return None
        source = self.template / PROJECT / name
        target = self.folder / path
        if not source.exists():
            target.unlink(missing_ok=True)
            self._rendered.pop(path, None)
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_copy_only_path(name, self._context):
            shutil.copy(source, target)
        else:
            with work_in(self.template / PROJECT):
                environment = create_env_with_context(self._context)
                environment.loader = FileSystemLoader([".", "../templates"])
                generate_file(str(self.folder), name, self._context, environment)
        self._rendered[path] = target.read_bytes()
        return path

    def install(self) -> None:
        """Make the environment, or bring it up to date, if what it is made of has changed."""
        if not self._makes_environment:
            return
        wanted = hashlib.sha256(sys.version.encode())
        for name in ("pyproject.toml", "engine/pyproject.toml"):
            wanted.update((self.folder / name).read_bytes())
        made_from = self.state / "environment-made-from"
        with contextlib.suppress(FileNotFoundError):
            if made_from.read_text(encoding="utf-8") == wanted.hexdigest():
                return
        everything = ["--extra", "package", "--group", "engine"]
        processes.run(
            ["uv", "sync", "--quiet", *everything, "--python", sys.executable],
            cwd=self.folder,
            env=self.variables(UV_PROJECT_ENVIRONMENT=str(self.state / "environment")),
            check=True,
        )
        made_from.write_text(wanted.hexdigest(), encoding="utf-8")

    def variables(self, **others: str) -> dict[str, str]:
        """The environment variables of a tool, which leaves nothing in the template's folders."""
        ours = {
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.state / "hypothesis"),
            "PYTHONPATH": source_of(self.folder),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "RUFF_CACHE_DIR": str(self.state / "ruff"),
        }
        return {**clean_environment(**ours), **others}
