"""The environment that rendered projects run in, kept for the next run of the tests.

To make one takes a minute of a processor, and the tests run in several parts. It is kept in the
user's cache: what lies in the repository would be the repository's for git, ruff and uv.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from .rendering import ROOT, files

MOST = 3
"""How many are kept, of this checkout: a run may still use one while the template is edited."""


NO_MATTER = {"UV_PYTHON_DOWNLOADS", "UV_RUN_RECURSION_DEPTH"}
"""Variables that `uv run` and these tests set themselves."""


def users_cache() -> Path:
    """Where programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


def home() -> Path:
    """Where those of this checkout are kept; `make clean` removes it."""
    checkout = re.sub(r"[/\\:]", "-", ROOT.as_posix())
    return users_cache() / "cookiecutter-model-serving-tests" / checkout


def key(template: Path, *others: str) -> str:
    """What an environment is made from, in few characters: a checksum.

    others: what else it is made from. Indexes have newer libraries each week.
    """
    digest = hashlib.sha256()
    for name, content in files(template).items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    told = sorted(name for name in os.environ.keys() - NO_MATTER if name.startswith("UV_"))
    variables = [f"{name}={os.environ[name]}" for name in told]
    generator = importlib.metadata.version("cookiecutter")
    week = time.strftime("%G-%V")
    digest.update("\n".join([sys.version, sys.executable, generator, week, *variables]).encode())
    digest.update("\n".join(others).encode())
    return digest.hexdigest()[:16]


def keep(home: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` in `home`, which `make` fills if no run has done so to its end.

    Of all such folders, those that were used last are left.
    """
    folder, made = home / name, home / name / "made"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
        made.touch()
        used = sorted(home.glob("*/made"), key=lambda each: each.stat().st_mtime_ns)
        for each in used[:-MOST]:
            each.unlink()
            shutil.rmtree(each.parent, ignore_errors=True)
    return folder
