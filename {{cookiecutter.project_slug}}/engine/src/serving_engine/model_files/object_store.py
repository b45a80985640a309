"""A model directory in an object store, or a repository of Hugging Face, through fsspec."""

import json
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from .home import Push
from .manifest import MANIFEST

BLOCK = 8 * 1024 * 1024
"""Bytes of one request: few requests, and little memory."""


class ObjectStore:
    """Objects below a URL. The platform's own library finds the credentials."""

    def __init__(self, url: str) -> None:
        """Raises ModuleNotFoundError if the URL's library is not installed."""
        fsspec: Any = import_module("fsspec")
        try:
            self.fs, self.root = fsspec.url_to_fs(
                url, skip_instance_cache=True, use_listings_cache=False
            )
        except ImportError as error:  # fsspec's own words, and the cause says which is missing
            raise (error.__cause__ or error) from None

    def read(self, name: str, size: int | None, scratch: Path) -> Iterator[bytes]:  # noqa: ARG002
        """The blocks of an object; see `Home.read`."""
        yield from self._blocks(name)

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self.fs.open(f"{self.root}/{name}", "rb", cache_type="none") as file:
            while block := file.read(BLOCK):
                yield block

    def push(self, push: Push) -> Iterator[str]:
        """Write the objects, the manifest last; see `Home.push`."""
        there = self._manifest()
        if there == push.content and not push.replace and self._complete(push):
            yield "it is there already"
            return
        if there not in (None, push.content) and not push.replace:
            raise FileExistsError(f"it holds another model, {_label(there)}")
        yield from self._write(push, new=there is None)

    def _write(self, push: Push, *, new: bool) -> Iterator[str]:
        for record in push.manifest.artifact.records:
            self.fs.put_file(str(push.folder / record.file), f"{self.root}/{record.file}")
            yield f"pushed {record.file}: {record.size} bytes"
        if not self._complete(push):
            raise OSError("an object has another size than its file")
        # An object is whole or absent, and without a manifest there is no model.
        try:
            mode = "create" if new and not push.replace else "overwrite"
            self.fs.pipe_file(f"{self.root}/{MANIFEST}", push.content, mode=mode)
        except OSError:
            if self._manifest() in (None, push.content):
                raise
            raise FileExistsError("another push was quicker") from None
        yield f"pushed {MANIFEST}"

    def _manifest(self) -> bytes | None:
        """The manifest that is there."""
        with suppress(FileNotFoundError):
            self.fs.invalidate_cache()
            return next(self._blocks(MANIFEST), b"")
        return None

    def _complete(self, push: Push) -> bool:
        """Whether every file has an object of its size."""
        self.fs.invalidate_cache()
        with suppress(FileNotFoundError):
            records = push.manifest.artifact.records
            return all(
                self.fs.info(f"{self.root}/{record.file}")["size"] == record.size
                for record in records
            )
        return False


class HubRepository(ObjectStore):
    """A repository of Hugging Face: a push is one commit, so nobody sees a part of it."""

    def _write(self, push: Push, *, new: bool) -> Iterator[str]:  # noqa: ARG002
        hub: Any = import_module("huggingface_hub")
        place = self.fs.resolve_path(self.root)
        names = [*(record.file for record in push.manifest.artifact.records), MANIFEST]
        head = hub.HfApi().repo_info(
            place.repo_id, repo_type=place.repo_type, revision=place.revision
        )
        label = f"{push.manifest.name} {push.manifest.version}"
        hub.HfApi().create_commit(
            place.repo_id,
            [
                hub.CommitOperationAdd("/".join(filter(None, (place.path_in_repo, name))), path)
                for name in names
                for path in [str(push.folder / name)]
            ],
            commit_message=f"Push {label}",
            repo_type=place.repo_type,
            revision=place.revision,
            parent_commit=head.sha,
        )
        yield f"pushed {', '.join(names)} in one commit"


def _label(manifest: bytes | None) -> str:
    """Name and version of a manifest, for a message."""
    with suppress(ValueError, LookupError, TypeError):
        fields = json.loads(manifest or b"")
        return f"{fields['name']} {fields['version']}"[:100]
    return "of an unknown kind"
