"""The checkpoint of a run: how far it is, so that it can go on after its process was killed."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...model_files.manifest import Manifest
from .sources import BLOCK_BYTES, BLOCK_ROWS

BEGIN_ANEW = "Run it without --resume, which begins anew."

_INTERVAL = 1.0
"""Least seconds between two checkpoints: each brings the files to the disk."""


@dataclass
class Progress:
    """How far a run is: what it has done, and the sizes of its two files."""

    blocks: int = 0
    rows: int = 0
    bad: int = 0
    result_bytes: int = 0
    bad_bytes: int = 0


class Checkpoint:
    """The file `RESULT.checkpoint`.

    A run goes on only with the same input, by its size and time of change, the same model, by its
    hash, and the same engine, which reads the same blocks.
    """

    def __init__(self, result: Path, source: Path, manifest: Manifest) -> None:
        self.path = result.with_name(f"{result.name}.checkpoint")
        found = source.stat()
        self._run: dict[str, Any] = {
            "input": [found.st_size, found.st_mtime_ns],
            "model": hashlib.sha256(manifest.model_dump_json().encode()).hexdigest(),
            "engine": [BLOCK_BYTES, BLOCK_ROWS],
        }
        self._saved = -_INTERVAL

    def read(self) -> Progress:
        """How far the run was; at its beginning if there is no checkpoint.

        Raises UsageError if the checkpoint is of another run, or damaged.
        """
        try:
            document = json.loads(self.path.read_bytes())
            run = document["run"]
            progress = Progress(**document["progress"])
        except FileNotFoundError:
            return Progress()
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{self.path} is damaged. {BEGIN_ANEW}") from None
        for name, value in self._run.items():
            if run.get(name) != value:
                raise UsageError(
                    f"cannot go on from {self.path}: the {name} has changed since. {BEGIN_ANEW}"
                )
        return progress

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint; the first block has one."""
        return time.monotonic() - self._saved >= _INTERVAL

    def save(self, progress: Progress) -> None:
        """Save how far the run is, in one step."""
        written = self.path.with_name(f"{self.path.name}.new")
        document = {"run": self._run, "progress": asdict(progress)}
        written.write_text(json.dumps(document), encoding="utf-8")
        written.replace(self.path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
