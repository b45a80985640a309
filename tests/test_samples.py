"""The sample model and the bounds of dependencies: facts that stand in two places agree."""

import hashlib
import json
import re
import tomllib

from .conftest import ROOT, SAMPLE, Render

MANIFEST = json.loads((SAMPLE / "manifest.json").read_text(encoding="utf-8"))


def test_the_artifact_is_the_one_that_the_manifest_names() -> None:
    data = (SAMPLE / MANIFEST["artifact"]["file"]).read_bytes()
    assert len(data) == MANIFEST["artifact"]["size"]
    assert hashlib.sha256(data).hexdigest() == MANIFEST["artifact"]["sha256"]


def test_the_hook_pins_the_samples_manifest() -> None:
    digest = hashlib.sha256((SAMPLE / "manifest.json").read_bytes()).hexdigest()
    assert digest in (ROOT / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")


def test_the_project_pins_the_minor_that_the_sample_was_fitted_with(render: Render) -> None:
    requirements = dependencies(render())
    major, minor, patch = MANIFEST["built_with"]["scikit-learn"].split(".")
    assert f"scikit-learn>={major}.{minor}.{patch},<{major}.{int(minor) + 1}" in requirements


def test_every_dependency_has_a_floor_and_a_ceiling(render: Render) -> None:
    for requirement in dependencies(render()):
        assert re.fullmatch(r"[a-z0-9-]+(\[\w+\])?>=[\d.]+,<[\d.]+(; .+)?", requirement), (
            requirement
        )


def dependencies(project: object) -> list[str]:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"].get("optional-dependencies", {}).values()
    return settings["project"]["dependencies"] + [r for extra in extras for r in extra]
