"""`serve --reload`: a change of the service's code starts it anew."""

import json
import os
from pathlib import Path

import pytest

from .service import Service, run

APP = """
from tests.example_service.app import create_app as create
from tests.example_service.settings import Settings


def create_app(settings=None, model=None):
    app = create(settings, model)
    app.version = "{}"
    return app
"""
MAIN = """
from serving_engine import Service, run_command_line

if __name__ == "__main__":
    run_command_line(Service("edited", settings="app:Settings"))
"""


def test_a_change_of_the_code_starts_the_service_anew(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "edited"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MAIN)
    (package / "app.py").write_text(APP.format("before"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with Service(model_dir, "--reload", package="edited") as service:
        assert service.get("/openapi.json").json()["info"]["version"] == "before"
        (package / "app.py").write_text(APP.format("after"))
        assert "app.py" in service.wait_for_line("detected changes")
        message = json.loads(service.wait_for_line(service.ready))["message"]
        url = message.removeprefix(f"{service.ready} ")
        answer = service.get(f"{url}/openapi.json")
        assert answer.json()["info"]["version"] == "after"
        assert service.stop() == 0


def test_several_workers_are_not_restarted(model_dir: Path) -> None:
    ended = run("serve", "--reload", "--workers", "2", SERVING_MODEL_DIR=model_dir)
    assert ended.returncode == 2
    assert "SERVING_WORKERS=1" in ended.stdout
