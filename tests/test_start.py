"""The section "Start" of the README, word for word, on a checkout of this template."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from . import processes
from .conftest import ROOT, clean_environment
from .markdown import commands, section
from .rendering import copy_template, make_repository
from .services import address_of

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PATIENCE = 120


def what_to_type() -> list[str]:
    """The commands of that section."""
    return commands(section((ROOT / "README.md").read_text(encoding="utf-8"), "Start"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """What stands in for the repository of the template: a commit of it as it is now."""
    template = copy_template(tmp_path / "template")
    make_repository(template)
    return template


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The variables of a shell with uv; any free port, as other tests may serve meanwhile."""
    config = tmp_path / "cookiecutter.yaml"
    folders = {name: str(tmp_path / name) for name in ("cookiecutters_dir", "replay_dir")}
    config.write_text(json.dumps(folders), encoding="utf-8")
    environment = clean_environment(COOKIECUTTER_CONFIG=str(config), SERVING_PORT="0")
    return {**environment, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}


def generate(line: str, template: Path, folder: Path, variables: dict[str, str]) -> Path:
    """Run a command that makes a project, and press Enter at each question."""
    command, count = re.subn(r"(gh:|https://github\.com/)OWNER/\S+", template.as_posix(), line)
    assert count == 1
    ended = processes.run(
        shlex.split(command),
        cwd=folder,
        env=variables | {"PWD": str(folder)},
        input="\n" * 20,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "The model in model/ is that of" in ended.stdout
    return folder / "iris-service"


def test_uv_alone_leads_to_a_prediction(
    template: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    make, change, serve, example, ask, _ = what_to_type()
    home = tmp_path / "home"
    home.mkdir()
    project = generate(make, template, home, variables)
    assert shlex.split(change) == ["cd", project.name]
    service = processes.start(
        shlex.split(serve),
        death=signal.SIGTERM,
        cwd=project,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = address_of(service)
        reader = threading.Thread(target=service.stderr.read, daemon=True)
        reader.start()
        script = f"{example}\n{ask.replace('http://127.0.0.1:8000', address)}"
        ended = processes.run(
            ["bash", "-ec", script],
            cwd=project,
            env=variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
    finally:
        service.send_signal(signal.SIGINT)
        code = service.wait(PATIENCE)
    reader.join(PATIENCE)
    service.stderr.close()
    assert json.loads(ended.stdout)["predictions"][0]["label"] == "setosa"
    assert code == 0


@pytest.mark.skipif(os.name == "nt", reason="git's paths in a file URL differ there")
def test_crufts_project_is_linked_from_the_start(
    template: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    *_, create = what_to_type()
    home = tmp_path / "home"
    home.mkdir()
    project = generate(create, template, home, variables)
    link = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))
    assert link["template"] == template.as_posix()
