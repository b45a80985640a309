"""A look at `manifest.json`, whose change says that there is another model."""

import time
from pathlib import Path

INTERVAL = 1.0


class Watch:
    """Sees when the manifest of a model directory was replaced or written."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "manifest.json"
        self._seen = self._look()
        self._next = 0.0

    def changed(self) -> bool:
        """Whether it is another one than at the last look. It looks once a second."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + INTERVAL
        before, self._seen = self._seen, self._look() or self._seen
        return self._seen != before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:  # being replaced
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
