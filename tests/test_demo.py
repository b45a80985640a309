"""`make demo`, with a host that serves the sample model and with one that refuses."""

import sys

import pytest

from . import processes
from .conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("runtime", "refused"),
    [
        ("scikit-learn", False),
        ("scikit-learn", True),
        pytest.param("onnx", False, marks=pytest.mark.thorough),
        pytest.param("python", False, marks=pytest.mark.thorough),
    ],
)
def test_the_demo_shows_a_true_prediction(runtime: str, refused: bool) -> None:
    arguments = ["--runtime", runtime, *(["--refused"] if refused else [])]
    ended = processes.run(
        [sys.executable, ROOT / "tests" / "demo.py", *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"label": "setosa"' in ended.stdout
    source = f"samples/{runtime}/manifest.json" if refused else "http://127.0.0.1"
    assert source in ended.stdout
    assert ("Fetched no model" in ended.stdout) == refused
