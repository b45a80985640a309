"""Watches `manifest.json` for changes: `serve --watch`."""

import hashlib
import time
from pathlib import Path

from ..errors import ModelError
from ..model_files.manifest import MANIFEST, read_manifest
from ..model_files.regular_file import open_regular

INTERVAL = 1.0
SETTLE_TIMEOUT = 10.0
"""Seconds without progress after which a reload is started whose failure tells what is wrong."""

Stat = tuple[int, int, int]


class ManifestWatch:
    """Detects that another model is in a model directory.

    A copy may write the manifest before the other files. So a change counts when these are the
    ones that the manifest records, or when nothing has changed for a while.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = _stat(directory / MANIFEST)
        self._files: list[Stat | None] = []
        self._pending = False
        self._settled_at = 0.0
        self._next = 0.0

    def changed(self) -> bool:
        """Return whether another model is there since the last check; checks once a second."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + INTERVAL
        manifest = _stat(self._directory / MANIFEST) or self._manifest
        if manifest != self._manifest:
            self._manifest = manifest
            self._files = []
            self._pending = True
            self._settled_at = now + SETTLE_TIMEOUT
        if not self._pending:
            return False
        self._pending = not (self._files_agree(now) or now > self._settled_at)
        return not self._pending

    def _files_agree(self, now: float) -> bool:
        """Return whether the files are the manifest's; read them only if one has changed."""
        try:
            records = read_manifest(self._directory).artifact.records
            files = [_stat(self._directory / record.file) for record in records]
            if files == self._files and files:
                return False
            self._files = files
            self._settled_at = now + SETTLE_TIMEOUT
            return all(self._digest(record.file) == record.sha256 for record in records)
        except (ModelError, OSError):
            return False

    def _digest(self, name: str) -> str:
        with open_regular(self._directory / name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _stat(path: Path) -> Stat | None:
    try:
        status = path.stat()
    except OSError:  # it is being replaced
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
