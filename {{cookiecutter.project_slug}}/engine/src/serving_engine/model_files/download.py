"""Downloads the manifest and the files of a model, verifies them, and writes all or none.

The template's hook runs this file by its path, with Python 3.8 and `requests` 2.23 or later.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests.adapters


class FetchError(Exception):
    """The download failed. `str()` is one line of ASCII: what is wrong, then the remedy."""

    def __init__(self, text: str, retry: float | None = None) -> None:
        super().__init__(ascii(text)[1:-1].replace("\\\\", "\\"))
        self.retry = retry  # seconds until the next attempt; None: no attempt can succeed


class Limits(NamedTuple):  # a dataclass would fail in a module that is not in sys.modules
    """The limits of one call of `fetch_model`. Times are in seconds."""

    connect: float = 5
    read: float = 15  # without a byte received
    total: float = 120  # of the whole call: name lookups, redirects, waits, retries
    attempts: int = 4  # for each file
    backoff: float = 0.5  # upper bound of the first random wait; it doubles with each attempt
    max_redirects: int = 5
    max_bytes: int = 512 * 1024 * 1024  # of all files


def fetch_model(
    source: str,
    target: Path,
    *,
    sha256: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (it never changes)
    progress: Callable[[int, int], object] | None = None,
    make: Callable[..., Fetch] | None = None,
) -> Path:
    """Download a manifest and its files into `target`; return the path of the manifest.

    source: an https URL of a manifest.json (http on this machine only), or a local path; the
    files are in the same directory, or below it.
    sha256: of the manifest, in hex; without it the manifest is not verified.
    progress: called after every tenth with the bytes received and the bytes expected.
    make: what to call in place of Fetch, to read something else than https and paths.
    A file whose checksum is right already is not downloaded. Raises FetchError, and `target` still
    holds the old model.
    """
    manifest = target / "manifest.json"
    new = manifest
    with _bar_or_lines() if progress is None else contextlib.nullcontext(progress) as report:
        fetch = (make or Fetch)(target, limits, report)
        try:
            target.mkdir(parents=True, exist_ok=True)
            if sha256 is None or _sha256(manifest) != sha256.lower():
                new = fetch.receive(source, sha256)
            parts = {}
            for name, size, digest in fetch.files_of(new):
                if _sha256(target / name) != digest:
                    parts[name] = fetch.receive(fetch.beside(source, name), digest, size)
            for name, part in parts.items():
                fetch.publish(part, target / name)
            if new != manifest:
                fetch.publish(new, manifest)  # last: it must never name a file that is missing
        except OSError as error:
            problem = f"{error.filename or target}: {error.strerror or error}."
            raise FetchError(f"{problem} Check the path, its permissions and the space.") from error
        finally:
            fetch.clean()
    return manifest


class Fetch:
    """One call of `fetch_model`: receives and verifies parts, then gives them their names."""

    def __init__(self, target: Path, limits: Limits, report: Callable[[int, int], object]) -> None:
        self.limits = limits
        self.deadline = time.monotonic() + limits.total
        self.target = target
        self.prefix = f".fetch-{os.urandom(8).hex()}"
        self.report = report
        self.count = 0
        self.shown = str(target)  # the name of the source in messages

    def receive(self, source: str, sha256: str | None, size: int | None = None) -> Path:
        """Download `source` into a temporary file, verify it, and return its path.

        size: None for a manifest, whose size is not known.
        """
        self.count += 1
        part = self.target / f"{self.prefix}-{self.count}.part"
        attempt = 0
        mismatched = False
        self.shown = re.sub("//[^/]*@", "//", source.partition("?")[0])  # without secrets
        self.etag = ""  # of the content of the part; without one the next attempt starts over
        with part.open("xb") as sink:
            while True:
                try:
                    self.attempt(source, size, sink)
                except FetchError as error:
                    wait = (error.retry or 0) + random.uniform(0, self.limits.backoff * 2**attempt)  # noqa: S311
                    attempt += 1
                    too_late = time.monotonic() + wait > self.deadline
                    if error.retry is None or too_late or attempt >= self.limits.attempts:
                        raise
                    time.sleep(wait)
                else:
                    if sha256 is None or _sha256(part) == sha256.lower():
                        return part
                    if mismatched:
                        raise FetchError(
                            f"{self.shown}: checksum mismatch, the SHA-256 is {_sha256(part)}. "
                            "Check the URL and the expected SHA-256."
                        )
                    mismatched = True
                    self.etag = ""

    def attempt(self, source: str, size: int | None, sink: BinaryIO) -> None:
        """Write the download to the sink, or continue where the last attempt ended."""
        if not (self.etag and size):
            sink.truncate(sink.seek(0))
        blocks = self.blocks(source, size, sink)
        while block := self.next_of(blocks):
            before = sink.tell()
            after = before + len(block)
            if after > (2**20 if size is None else size):  # a manifest: 1 MiB
                raise FetchError(f"{self.shown}: size mismatch, it is too long. Check the URL.")
            sink.write(block)
            if size and before * 10 // size < after * 10 // size:
                self.report(after, size)
        sink.flush()
        os.fsync(sink.fileno())
        if size is not None and sink.tell() < size:
            got = f"only {sink.tell()} of {size} bytes arrived"
            raise FetchError(f"{self.shown}: {got}. Try again.", retry=0)

    def beside(self, source: str, name: str) -> str:
        """Where a file is that the manifest at `source` names."""
        return urljoin(source, name) if "://" in source else f"{Path(source).parent}/{name}"

    def blocks(self, source: str, size: int | None, sink: BinaryIO) -> Iterator[bytes]:
        """The content of `source`, from the place of the sink; it may move it to the start."""
        if "://" in source:
            yield from self.download(source, size, sink)
        else:
            with Path(source).open("rb") as file:
                yield from iter(lambda: file.read(2**20), b"")

    def next_of(self, blocks: Iterator[Any]) -> Any:
        """Read the next block in a thread: a timeout of a socket does not limit the time of a name
        lookup, nor that of a server which sends single bytes."""
        block: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def work() -> None:
            try:
                block.set_result(next(blocks, b""))
            except Exception as error:
                block.set_exception(self.explain(error))

        threading.Thread(target=work, daemon=True).start()
        while time.monotonic() < self.deadline:
            with contextlib.suppress(concurrent.futures.TimeoutError):
                return block.result(0.1)  # not longer: on Windows Ctrl-C does not end a wait
        raise FetchError(f"{self.shown}: timeout after {self.limits.total:g} s. Check the network.")

    def explain(self, error: Exception) -> FetchError:
        if isinstance(error, FetchError):
            return error
        cause: BaseException = error
        while cause.__context__:  # the system's message: that of requests may hold a password
            cause = cause.__context__
        known = isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
        text = f"{self.shown}: {cause if known else type(cause).__name__}."
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FetchError(f"{text} Set SSL_CERT_FILE to the file of its certificate authority.")
        final = isinstance(error, ValueError) or not isinstance(error, requests.RequestException)
        return FetchError(f"{text} Check the URL, the network, the proxy.", None if final else 0)

    def download(self, source: str, size: int | None, sink: BinaryIO) -> Iterator[bytes]:
        """The body, after redirects. Each URL is checked before a request is sent to it."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "model-fetch"}
        if start := sink.tell():
            headers.update({"Range": f"bytes={start}-", "If-Range": self.etag})
        env = os.environ.get
        url = source
        schemes = {"http", "https"}
        login = " ".join(env("MODEL_AUTHORIZATION", "").split())
        ca = env("SSL_CERT_FILE") or env("REQUESTS_CA_BUNDLE") or env("CURL_CA_BUNDLE") or True
        with contextlib.closing(requests.adapters.HTTPAdapter()) as adapter:  # no Session: ~/.netrc
            for _ in range(self.limits.max_redirects + 1):
                request = requests.Request("GET", url, headers).prepare()
                parts = urlsplit(str(request.url))
                local = re.fullmatch(r"localhost|::1|127(\.[0-9]{1,3}){3}", parts.hostname or "")
                schemes &= {"https", parts.scheme if local else "https"}  # never https to http
                if parts.scheme not in schemes:
                    raise FetchError(f"{self.shown}: unsupported URL, it is not https. Use https.")
                if login:
                    request.headers["Authorization"] = login
                proxies = {} if local else requests.utils.get_environ_proxies(str(request.url))
                with adapter.send(request, True, self.limits[:2], ca, None, proxies) as response:
                    if not response.is_redirect:
                        self.check_response(response, size, sink)
                        response.raw.enforce_content_length = True  # urllib3 1.x would not
                        yield from response.iter_content(2**17)
                        return
                    url = urljoin(str(request.url), response.headers["Location"])
                    login = login if urlsplit(url)[:2] == parts[:2] else ""
        raise FetchError(f"{self.shown}: too many redirects. Use the final URL.")

    def check_response(self, response: requests.Response, size: int | None, sink: BinaryIO) -> None:
        """Move the sink to the place of the response's body, or raise FetchError."""
        status = response.status_code
        headers = response.headers
        start = sink.tell()
        if status in (408, 425, 429, *range(500, 600)):
            after = headers.get("Retry-After", "")  # a wait of more than 30 s is an error
            retry = int(after or 0) if re.fullmatch("([12]?[0-9]|30)?", after) else None
            raise FetchError(f"{self.shown}: status {status}. Try again later.", retry)
        if start and status in (206, 416):
            if headers.get("Content-Range") != f"bytes {start}-{(size or 0) - 1}/{size}":
                self.etag = ""
                raise FetchError(f"{self.shown}: invalid range. Try again.", retry=0)
        elif status != requests.codes.ok:
            remedy = "Set MODEL_AUTHORIZATION." if status in (401, 403) else "Check the URL."
            raise FetchError(f"{self.shown}: status {status}. {remedy}")
        else:
            self.etag = "".join(re.findall('^".*"$', headers.get("ETag", "")))  # not a weak one
            sink.truncate(sink.seek(0))
        if headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(
                f"{self.shown}: unsupported Content-Encoding. Disable it on the server."
            )

    def files_of(self, manifest: Path) -> list[tuple[str, int, str]]:
        """The path, the size and the SHA-256 of each file that a manifest names."""
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            artifact = json.loads(manifest.read_bytes())["artifact"]
            several = "files" in artifact
            records = artifact["files"] if several else [artifact]
            files = [(record["file"], record["size"], str(record["sha256"])) for record in records]
            part = "[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
            path = rf"(?!(?i:manifest\.json)$){part}(/{part})" + "{0,9}"
            valid = all(
                re.fullmatch(path, name) and isinstance(size, int) and size > -several
                for name, size, _ in files
            )
            if valid and sum(size for _, size, _ in files) <= self.limits.max_bytes:
                return files
        raise FetchError(f"{self.shown}: invalid manifest, or a too large model. Check the URL.")

    def publish(self, part: Path, final: Path) -> None:
        """Move a part to its final name, durably."""
        final.parent.mkdir(parents=True, exist_ok=True)
        for pause in (0.1, 0.2, 0.4, 0.8, 0):
            try:
                part.replace(final)
                break
            except PermissionError:  # on Windows, while a virus scanner looks at the file
                if not pause:
                    raise
                time.sleep(pause)
        with contextlib.suppress(OSError):  # Windows, and some file systems, cannot
            folder = os.open(final.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def clean(self) -> None:
        """Delete the parts of this call, and those of processes that were killed."""
        for part in self.target.glob(".fetch-*.part"):
            with contextlib.suppress(OSError):  # a part unchanged for an hour is of a dead process
                if self.prefix in part.name or part.stat().st_mtime < time.time() - 3600:
                    part.unlink()


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:  # a model may be larger than memory
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _bar_or_lines() -> Iterator[Callable[[int, int], object]]:
    if sys.stderr.isatty() and not os.environ.get("CI") and importlib.util.find_spec("rich"):
        rich = importlib.import_module("rich.progress")
        with rich.Progress(console=rich.Console(stderr=True), transient=True) as bar:
            task = bar.add_task("model", total=None)
            yield lambda got, size: bar.update(task, completed=got, total=size)
    else:
        yield lambda got, size: sys.stderr.write(f"model: {got * 100 // size} % of {size} bytes\n")
