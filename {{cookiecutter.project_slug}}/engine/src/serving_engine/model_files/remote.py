"""Fetches a model from where it is kept, or pushes it there: object storage, a hub, a registry.

Each kind of URL is a `Home`. A home reads and writes; what is fetched is verified and published by
`download.py`, as from a web server: all files or none, the manifest last.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..distribution import ENGINE
from .download import Fetch, FetchError, Limits, fetch_model
from .home import Home, Push
from .manifest import MANIFEST, read_manifest
from .model_registry import Registry
from .object_store import HubRepository, ObjectStore
from .read_artifact import VerifiedCopies


class PushError(FetchError):
    """The upload failed. `str()` is one line of ASCII: what is wrong, then the remedy."""


class Kind(NamedTuple):
    """A kind of home. extra: of the engine, which brings its library. credentials: the remedy."""

    open: Callable[[str], Home]
    extra: str
    credentials: str


_AZURE = Kind(ObjectStore, "azure", "AZURE_STORAGE_ACCOUNT_NAME and the Azure identity")
HOMES = {
    "s3": Kind(ObjectStore, "s3", "AWS_PROFILE, AWS_ACCESS_KEY_ID or the role, and AWS_REGION"),
    "gs": Kind(ObjectStore, "gcs", "GOOGLE_APPLICATION_CREDENTIALS or the service account"),
    "az": _AZURE,
    "abfss": _AZURE,
    "hf": Kind(HubRepository, "huggingface", "HF_TOKEN"),
    "models": Kind(Registry, "mlflow", "MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN"),
}
"""By the scheme of the URL."""

SCRATCH = "-scratch.part"


def is_remote(source: str) -> bool:
    """Whether a source is a home of `HOMES`, and not a path or a web server's URL."""
    return source.partition(":")[0] in HOMES and ":/" in source


def fetch_remote(
    source: str,
    target: Path,
    *,
    sha256: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (it never changes)
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Fetch a model from a home into `target`, as `fetch_model` does; return its manifest's path.

    source: the URL of the directory, or of its manifest.json. Raises FetchError.
    """
    source = source.removesuffix(f"/{MANIFEST}").rstrip("/")
    make = partial(_Transfer, source)
    manifest = f"{source}/{MANIFEST}"
    return fetch_model(manifest, target, sha256=sha256, limits=limits, progress=progress, make=make)


def push_model(
    directory: Path,
    target: str,
    *,
    replace: bool = False,
    alias: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (it never changes)
    progress: Callable[[str], object] = lambda _: None,
) -> None:
    """Verify a model directory and push it to a home: its files, then the manifest.

    target: the URL of a directory for this model alone, or models:/NAME. replace: whether another
    content there may be replaced. progress: called with a line about each step.
    Raises PushError, and ModelError for a directory that does not hold what its manifest says.
    """
    if not is_remote(target):
        known = "s3://, gs://, az://, abfss://, hf:// or models:/"
        raise PushError(f"{target}: unsupported URL. Use {known}.")
    if alias and not target.startswith("models:"):
        raise PushError(f"{target}: only a registry has aliases. Leave --alias out.")
    manifest = read_manifest(directory)
    transfer = _Transfer(target.removesuffix(f"/{MANIFEST}").rstrip("/"), directory, limits)
    copies = VerifiedCopies.of_directory(directory, manifest.artifact, limits.max_bytes)
    with copies.folder() as folder:
        content = (directory / MANIFEST).read_bytes()
        (folder / MANIFEST).write_bytes(content)
        push = Push(folder, content, read_manifest(folder), replace, alias)
        try:
            steps = transfer.home.push(push)
            while step := transfer.next_of(steps):
                progress(step)
        except FetchError as error:
            raise PushError(str(error)) from None


class _Transfer(Fetch):
    """A `Fetch` that reads a home; it also limits the time of a push."""

    def __init__(
        self,
        url: str,
        target: Path,
        limits: Limits,
        report: Callable[[int, int], object] = lambda *_: None,
    ) -> None:
        super().__init__(target, limits, report)
        self.url = url
        self.shown = url
        self.scratch = target / f"{self.prefix}{SCRATCH}"
        self.kind = HOMES[url.partition(":")[0]]
        _keep_quiet()
        try:
            self.home = self.kind.open(url)
        except Exception as error:
            raise self.explain(error) from None

    def beside(self, source: str, name: str) -> str:
        return f"{source.removesuffix(MANIFEST)}{name}"

    def blocks(self, source: str, size: int | None, sink: BinaryIO) -> Iterator[bytes]:
        sink.truncate(sink.seek(0))
        self.scratch.mkdir(exist_ok=True)
        yield from self.home.read(source.removeprefix(f"{self.url}/"), size, self.scratch)

    def clean(self) -> None:
        for scratch in self.target.glob(f".fetch-*{SCRATCH}"):
            with suppress(OSError):  # unchanged for an hour: of a process that was killed
                if scratch == self.scratch or scratch.stat().st_mtime < time.time() - 3600:
                    shutil.rmtree(scratch)
        super().clean()

    def explain(self, error: Exception) -> FetchError:
        """What a library raised, in one line. The libraries have tried again themselves."""
        if isinstance(error, FetchError):
            return error
        if isinstance(error, ModuleNotFoundError):
            command = f"uv add '{ENGINE}[{self.kind.extra}]'"
            return FetchError(f"{self.shown}: {error.name} is not installed. Add it: {command}")
        if isinstance(error, FileExistsError):
            problem = f"{error}".strip() or "another push was quicker"
            return FetchError(f"{self.shown}: {problem}. Use another URL, or add --replace.")
        lines = re.sub(r"\?\S*", "", str(error)).split("\n")  # a signature in a query is a secret
        text = next((line.strip() for line in lines if line.strip()), "")[:200].rstrip(".")
        missing = isinstance(error, FileNotFoundError)
        problem = "not found" if missing else f"{type(error).__name__}: {text}"
        return FetchError(
            f"{self.shown}: {problem}. Check the URL and the credentials: {self.kind.credentials}."
        )


def _keep_quiet() -> None:
    """Keep libraries from reporting what they do to their makers, and from progress bars."""
    quiet = {
        "DO_NOT_TRACK": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of 7, whose waits take minutes
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
