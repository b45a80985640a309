"""Environments for what tests need beside the project: clients of protocols, servers of models.

Each is made on first use and kept between runs in the user's cache, as they are large.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from . import processes
from .conftest import bin_of, clean_environment
from .kept import users_cache


def python_with(name: str, requirements: Sequence[str], key: str = "") -> Path:
    """The Python of an environment with `requirements`.

    key: what tells whether it is still right, where the requirements do not.
    """
    text = "\n".join([sys.version, *([key] if key else requirements)])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    root = users_cache() / "cookiecutter-model-serving-clients" / name
    python = bin_of(root) / "python"
    complete = root / "complete"
    if not complete.exists() or complete.read_text(encoding="utf-8") != digest:
        # Python compiles what is imported, which is a small part of these libraries.
        quietly = {"check": True, "env": clean_environment()}
        processes.run(["uv", "venv", "-q", "--clear", "--python", sys.executable, root], **quietly)
        command = ["uv", "pip", "install", "-q", "--python", python, *requirements]
        processes.run(command, **quietly)
        complete.write_text(digest, encoding="utf-8")
    return python
