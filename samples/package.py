"""Fit the sample models and package them with the `model package` of rendered projects.

    make sample

Replaces samples/RUNTIME/ and the hash of its manifest in hooks/post_gen_project.py, for each
runtime, or for those that are named: make sample ARGS=onnx.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
HOOK = ROOT / "hooks" / "post_gen_project.py"
FILES = {
    "scikit-learn": ["iris.joblib"],
    "onnx": ["iris.joblib"],
    "python": ["network.json", "weights.npz"],
}
"""What is packaged for each runtime, of what train.py writes."""


def main(runtimes: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        trained = Path(scratch, "trained")
        run(render("scikit-learn", scratch), "python", ROOT / "samples" / "train.py", trained)
        for runtime in runtimes or FILES:
            package(runtime, render(runtime, scratch), trained)


def render(runtime: str, scratch: str) -> Path:
    project = cookiecutter(
        str(ROOT),
        no_input=True,
        default_config=True,
        accept_hooks=False,
        output_dir=f"{scratch}/{runtime}",
        overwrite_if_exists=True,
        extra_context={"model_runtime": runtime},
    )
    return Path(project)


def run(project: Path, *words: object) -> None:
    uv = ["uv", "run", "--quiet", "--python", sys.executable, "--extra", "package"]
    subprocess.run([*uv, *map(str, words)], cwd=project, check=True)


def package(runtime: str, project: Path, trained: Path) -> None:
    """Replace one sample."""
    target = ROOT / "samples" / runtime
    shutil.rmtree(target, ignore_errors=True)  # git keeps what was replaced
    run(
        project,
        project.name,
        "model",
        "package",
        *(trained / name for name in FILES[runtime]),
        f"--examples={trained / 'iris.csv'}",
        f"--model-dir={target}",
        "--name=iris",
        "--description=Species of an iris flower from its sepals and petals, in cm.",
        "--license=BSD-3-Clause",
    )
    digest = hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest()
    hook = HOOK.read_text(encoding="utf-8")
    pinned, found = re.subn(rf'(?<="{runtime}": ")[0-9a-f]{{64}}', digest, hook)
    if found != 1:
        sys.exit(f"{HOOK} has {found} places for the hash {digest} of {runtime}")
    HOOK.write_text(pinned, encoding="utf-8", newline="\n")
    print(f"sample manifest of {runtime}: {digest}")


if __name__ == "__main__":
    main(sys.argv[1:])
