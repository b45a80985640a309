"""Watches `manifest.json` for changes: `serve --watch`."""

import time
from pathlib import Path

INTERVAL = 1.0


class ManifestWatch:
    """Detects that the manifest of a model directory was replaced or written."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "manifest.json"
        self._seen = self._stat()
        self._next = 0.0

    def changed(self) -> bool:
        """Return whether the file has changed since the last check; checks once a second."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + INTERVAL
        before = self._seen
        self._seen = self._stat() or before
        return self._seen != before

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:  # it is being replaced
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
