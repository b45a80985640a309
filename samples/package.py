"""Fit the sample model and package it with a rendered project's own `model package`.

    make sample

Replaces samples/scikit-learn/ and the hash of its manifest in hooks/post_gen_project.py.
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
TARGET = ROOT / "samples" / "scikit-learn"
HOOK = ROOT / "hooks" / "post_gen_project.py"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        project = cookiecutter(
            str(ROOT), no_input=True, default_config=True, accept_hooks=False, output_dir=scratch
        )
        run = ["uv", "run", "--quiet", "--python", sys.executable, "--extra", "package"]
        subprocess.run(
            [*run, "python", ROOT / "samples" / "train.py", scratch], cwd=project, check=True
        )
        subprocess.run(
            [
                *run,
                Path(project).name,
                "model",
                "package",
                f"{scratch}/iris.joblib",
                f"--examples={scratch}/iris.csv",
                f"--model-dir={TARGET}",
                "--description=Species of an iris flower from its sepals and petals, in cm.",
                "--license=BSD-3-Clause",
            ],
            cwd=project,
            check=True,
        )
    shutil.rmtree(TARGET / ".previous", ignore_errors=True)  # git keeps what was replaced
    digest = hashlib.sha256((TARGET / "manifest.json").read_bytes()).hexdigest()
    hook = HOOK.read_text(encoding="utf-8")
    pinned, found = re.subn(r'(?<=SAMPLE_SHA256 = ")[0-9a-f]{64}', digest, hook)
    if found != 1:
        sys.exit(f"{HOOK} has {found} places for the hash {digest}")
    HOOK.write_text(pinned, encoding="utf-8", newline="\n")
    print(f"sample manifest: {digest}")


if __name__ == "__main__":
    main()
