"""What a place for models does: `remote.py` fetches from it and pushes to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from .manifest import Manifest


class Push(NamedTuple):
    """A model directory that was verified, and what is wanted.

    folder: holds the manifest and its files, and nothing else. content: the bytes of the manifest.
    replace: whether another content may be replaced. alias: a name for the version in a registry.
    """

    folder: Path
    content: bytes
    manifest: Manifest
    replace: bool
    alias: str | None


class Home(Protocol):
    """A place for one model directory. Both methods raise what its library raises."""

    def read(self, name: str, size: int | None, scratch: Path) -> Iterator[bytes]:
        """The blocks of a file, whatever its length.

        size: expected bytes; None for a manifest, of at most 1 MiB. scratch: a folder for a copy of
        the file. Raises FileNotFoundError if there is no such file.
        """
        ...

    def push(self, push: Push) -> Iterator[str]:
        """Write the files, then the manifest; yield a line after each step.

        Raises FileExistsError if another content is there that may not be replaced.
        """
        ...
