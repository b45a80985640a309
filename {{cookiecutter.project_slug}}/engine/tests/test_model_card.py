"""`model card`, and the route that returns the card."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.model_files.manifest import Manifest

from . import corruptions
from .example_service.app import create_app
from .example_service.settings import Settings

Run = Callable[..., Any]


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def test_the_card_says_what_the_manifest_knows(run: Run, model: Path, manifest: Manifest) -> None:
    assert run("model", "card", "--model-dir", str(model)).code == 0
    text = (model / "CARD.md").read_text(encoding="utf-8")
    assert f"# {manifest.name} {manifest.version}" in text
    column = manifest.signature.inputs[0]
    seen = f"{column.minimum:g} to {column.maximum:g}"
    assert f"| sepal\\_length | float64 | no | {seen} |" in text
    assert "## Intended use" in text
    assert not list(model.glob(".CARD*"))


def test_what_the_owner_wrote_stays_when_the_model_is_another(run: Run, model: Path) -> None:
    run("model", "card", "--model-dir", str(model))
    card = model / "CARD.md"
    card.write_text(f"First.\n\n{card.read_text()}\nLast.\n", encoding="utf-8")
    corruptions.manifest(version="2nd")(model)
    assert run("model", "card", "--model-dir", str(model)).code == 0
    text = card.read_text(encoding="utf-8")
    assert text.startswith("First.\n")
    assert text.endswith("Last.\n")
    assert "# test 2nd" in text
    assert "# test 1" not in text


def test_a_file_that_the_command_has_not_written_is_replaced_only_when_told(
    run: Run, model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.md"
    own.write_text("my notes", encoding="utf-8")
    options = ["model", "card", "--model-dir", str(model), "--output", str(own)]
    refused = run(*options)
    assert refused.code == 2
    assert "--replace" in refused.err
    assert own.read_text(encoding="utf-8") == "my notes"
    assert run(*options, "--replace").code == 0
    assert "# test 1" in own.read_text(encoding="utf-8")


def test_the_service_returns_the_card_and_says_whether_there_is_one(
    settings: Settings, run: Run, model: Path
) -> None:
    values = {**settings.model_dump(), "model_dir": model}
    with TestClient(create_app(Settings(**values))) as client:
        assert "card" not in client.get("/model").json()
        missing = client.get("/model/card")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
        run("model", "card", "--model-dir", str(model))
        assert client.get("/model").json()["card"] is True
        response = client.get("/model/card")
        assert response.headers["content-type"] == "text/markdown; charset=utf-8"
        assert response.content == (model / "CARD.md").read_bytes()
