"""Downloads from a real server on this machine, which may send invalid replies."""

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest.mock
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_engine.model_files import download
from serving_engine.model_files.download import FetchError, Limits, fetch_model

from .bad_server import (
    BadServer,
    Handler,
    Reply,
    drip,
    no_reply,
    partial_content,
    redirect,
    reply,
    stall,
)

BODY = bytes(range(256)) * 1600  # longer than one block of the download
QUICK = Limits(connect=2, read=2, total=20, backoff=0)
MANIFEST = "/manifest.json"
ARTIFACT = "/model.skops"
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_of(body: bytes = BODY, **changes: object) -> bytes:
    artifact = {"file": "model.skops", "size": len(body), "sha256": sha256(body), **changes}
    return json.dumps({"artifact": artifact}).encode()


MODEL = {"manifest.json": manifest_of(), "model.skops": BODY}
OLD = {"manifest.json": manifest_of(b"old"), "model.skops": b"old"}


def write_files(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetch(
    server: BadServer, target: Path, limits: Limits = QUICK, sha256: str | None = None
) -> dict[str, bytes]:
    """Fetch the model of a server; return the files in the target."""
    path = fetch_model(
        server.base + MANIFEST, target, limits=limits, sha256=sha256, progress=lambda *_: None
    )
    assert path == target / "manifest.json"
    return contents(target)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = "SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE MODEL_AUTHORIZATION CI NETRC"
    for name in [*names.split(), *(name for name in os.environ if name.lower().endswith("_proxy"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[BadServer]:
    with BadServer() as server:
        server.replies = {MANIFEST: [reply(MODEL["manifest.json"])], ARTIFACT: [reply(BODY)]}
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace `time.sleep`; return the list of the seconds of each call."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for this machine, and a server's context that uses it."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=loopback", "-keyout", "key", "-out", "cert"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("makes a certificate with the command openssl, which is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return folder / "cert", context


# Files


def test_a_model_is_fetched(server: BadServer, target: Path) -> None:
    assert fetch(server, target, sha256=sha256(MODEL["manifest.json"]).upper()) == MODEL
    assert server.paths() == [MANIFEST, ARTIFACT]
    (target / "ordinary").touch()
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1


def test_a_local_model_is_copied_and_verified(tmp_path: Path, target: Path) -> None:
    source = write_files(MODEL, tmp_path / "source")
    fetch_model(str(source / "manifest.json"), target, limits=QUICK)
    assert contents(target) == MODEL
    (source / "model.skops").write_bytes(BODY[:-1] + b"?")
    with pytest.raises(FetchError, match="checksum mismatch"):
        fetch_model(str(source / "manifest.json"), tmp_path / "other", limits=QUICK)
    with pytest.raises(FetchError, match="No such file"):
        fetch_model(str(source / "nothing.json"), target, limits=QUICK)


def test_a_file_with_the_right_checksum_is_not_downloaded_again(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(MODEL, target)
    with monkeypatch.context() as read_only:
        read_only.delattr(Path, "replace")
        read_only.delattr(os, "fsync")
        assert fetch(server, target, sha256=sha256(MODEL["manifest.json"]).upper()) == MODEL
    assert server.paths() == []
    assert fetch(server, target) == MODEL
    assert server.paths() == [MANIFEST]
    (target / "model.skops").write_bytes(b"damaged")
    assert fetch(server, target, sha256=sha256(MODEL["manifest.json"])) == MODEL
    assert server.paths() == [MANIFEST, ARTIFACT]


def test_the_url_of_the_artifact_is_relative_to_the_manifest(
    server: BadServer, target: Path
) -> None:
    server.replies |= {"/": [reply(manifest_of(b"1"))], "/a/b?key": [reply(manifest_of(b"2"))]}
    server.replies |= {ARTIFACT: [reply(b"1")], f"/a{ARTIFACT}": [reply(b"2")]}
    fetch_model(server.base, target)
    fetch_model(f"{server.base}/a/b?key", target)
    assert server.paths() == ["/", ARTIFACT, "/a/b?key", f"/a{ARTIFACT}"]


@pytest.mark.parametrize("host", ["127.0.0.1:{}", ""])
def test_secrets_in_a_url_are_not_part_of_messages(
    server: BadServer, target: Path, pauses: list[float], host: str
) -> None:
    url = f"http://me:secret@{host.format(server.server_port)}/x?key=secret"
    with pytest.raises(FetchError, match=r"/x.* Check the URL") as caught:
        fetch_model(url, target)
    assert all(request.headers["Authorization"][:6] == "Basic " for request in server.requests)
    assert "secret" not in str(caught.value)
    assert pauses == []


@pytest.mark.parametrize(
    "changes",
    [
        *({"file": name} for name in ("../x", "/x", "a\\b", "C:x", "..", "", ".x", "a\nb", 7)),
        *({"file": name} for name in ("manifest.json", "Manifest.JSON", "x" * 101)),
        *({"size": size} for size in (0, -1, 9.5, "9", float("nan"), 2**29 + 1)),
    ],
    ids=str,
)
def test_a_manifest_with_an_invalid_artifact_is_an_error(
    server: BadServer, target: Path, changes: dict[str, object]
) -> None:
    server.replies[MANIFEST] = [reply(manifest_of(**changes))]
    with pytest.raises(FetchError, match="invalid manifest"):
        fetch(server, target)
    assert server.paths() == [MANIFEST]
    assert contents(target) == {}


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"artifact": 1}', b"[" * 99999, b"\xff", manifest_of(sha256=7)],
)
def test_an_invalid_manifest_is_an_error(server: BadServer, target: Path, body: bytes) -> None:
    server.replies[MANIFEST] = [reply(body)]
    with pytest.raises(FetchError, match=r"invalid manifest|SHA-256"):
        fetch(server, target)
    assert contents(target) == {}


# Integrity


@pytest.mark.parametrize("path", [MANIFEST, ARTIFACT])
def test_a_checksum_mismatch_is_retried_once(server: BadServer, target: Path, path: str) -> None:
    write_files(OLD, target)
    right = server.replies[path][0]
    checksum = sha256(MODEL["manifest.json"])
    wrong = reply(MODEL[path[1:]][:-1] + b"?", ETag='"1"')
    server.replies[path] = [wrong]
    with pytest.raises(FetchError, match="checksum mismatch"):
        fetch(server, target, sha256=checksum)
    assert server.paths().count(path) == 2
    assert all("Range" not in request.headers for request in server.requests)
    assert contents(target) == OLD
    server.replies[path] = [wrong, right]
    assert fetch(server, target, sha256=checksum) == MODEL


@pytest.mark.parametrize("path", [MANIFEST, ARTIFACT])
@pytest.mark.parametrize("length", [None, 2**40])
def test_a_response_that_is_too_long_is_an_error_at_once(
    server: BadServer, target: Path, path: str, length: int | None
) -> None:
    server.replies[path] = [reply(bytes(2**22), Content_Length=length)]
    write_files(OLD, target)
    with pytest.raises(FetchError, match="size mismatch, it is too long"):
        fetch(server, target)
    assert server.paths().count(path) == 1
    assert contents(target) == OLD


@pytest.mark.parametrize("length", [None, len(BODY)])
def test_a_truncated_response_is_an_error_after_all_attempts(
    server: BadServer, target: Path, length: int | None
) -> None:
    server.replies[ARTIFACT] = [reply(BODY, cut=300_000, Content_Length=length)]
    write_files(OLD, target)
    with pytest.raises(FetchError, match=r"/model\.skops"):
        fetch(server, target)
    assert server.paths().count(ARTIFACT) == QUICK.attempts
    assert contents(target) == OLD


def test_a_truncated_manifest_is_downloaded_again(server: BadServer, target: Path) -> None:
    long = MODEL["manifest.json"] + bytes(300_000).replace(b"\0", b" ")
    server.replies[MANIFEST] = [reply(long, cut=299_999, ETag='"1"'), reply(long)]
    assert fetch(server, target) == {**MODEL, "manifest.json": long}
    assert all("Range" not in request.headers for request in server.requests)


def test_a_response_without_a_length_is_accepted(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [reply(BODY, Content_Length=None)]
    assert fetch(server, target) == MODEL


def test_the_old_files_stay_until_the_download_is_complete(server: BadServer, target: Path) -> None:
    snapshots = []
    write_files(OLD, target)
    fetch_model(
        server.base + MANIFEST,
        target,
        progress=lambda *_: snapshots.append({name: contents(target)[name] for name in OLD}),
    )
    assert snapshots
    assert all(files == OLD for files in snapshots)
    assert contents(target) == MODEL


def test_the_manifest_is_replaced_last(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda part, final: (replaced.append(final.name), replace(part, final))
    )
    fetch(server, target)
    assert replaced == ["model.skops", "manifest.json"]


@POSIX
def test_every_file_is_synced_to_disk(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    fetch(server, target)
    assert {path.stat().st_ino for path in [target, *target.iterdir()]} == set(synced)


@pytest.mark.parametrize("times", [4, 5])
def test_a_file_in_use_is_replaced_after_some_attempts(
    server: BadServer,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
    times: int,
) -> None:
    replace = Path.replace
    failures = iter([PermissionError(13, "In use")] * times)

    def fail_at_first(part: Path, final: Path) -> None:
        if error := next(failures, None):
            raise error
        replace(part, final)

    monkeypatch.setattr(Path, "replace", fail_at_first)
    with pytest.raises(FetchError, match="In use") if times > 4 else contextlib.nullcontext():
        assert fetch(server, target) == MODEL
    assert len(pauses) == 4


# Processes


SCRIPT = f"""
import sys
from pathlib import Path
from {download.__name__} import FetchError, Limits, fetch_model
try:
    fetch_model(
        sys.argv[1],
        Path(sys.argv[2]),
        limits=Limits(total=float(sys.argv[3])),
        progress=lambda *_: print("started", flush=True),
    )
except FetchError as error:
    sys.exit(str(error))
"""


def start_fetch(
    server: BadServer, target: Path, total: float = 120, before: str = ""
) -> subprocess.Popen[str]:
    arguments = [server.base + MANIFEST, str(target), str(total)]
    return subprocess.Popen(
        [sys.executable, "-c", before + SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_may_download_at_the_same_time(server: BadServer, target: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    def wait_for_both(handler: Handler) -> None:
        both.wait()
        reply(BODY)(handler)

    server.replies[ARTIFACT] = [wait_for_both]
    with start_fetch(server, target) as first, start_fetch(server, target) as second:
        assert (first.wait(20), second.wait(20)) == (0, 0)
    assert contents(target) == MODEL


@POSIX
def test_an_interrupt_leaves_no_part_behind(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [stall(BODY, 300_000)]
    write_files(OLD, target)
    with start_fetch(server, target) as process:
        assert process.stdout
        process.stdout.readline()
        assert contents(target) != OLD
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert process.stderr
        assert "KeyboardInterrupt" in process.stderr.read()
    assert contents(target) == OLD


def test_the_part_of_a_killed_process_is_deleted_after_an_hour(
    server: BadServer, target: Path
) -> None:
    server.replies[ARTIFACT] = [stall(BODY, 300_000), reply(BODY)]
    with start_fetch(server, target) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
    parts = set(contents(target))
    assert parts
    assert not parts & set(MODEL)
    assert set(fetch(server, target)) == {*MODEL, *parts}  # they may be of a running process
    for name in parts:
        os.utime(target / name, (time.time() - 7200,) * 2)
    assert fetch(server, target) == MODEL


@POSIX
def test_a_full_disk_is_an_error_in_one_line(server: BadServer, target: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    with start_fetch(server, target, before=limit) as process:
        assert process.stderr
        lines = process.stderr.read().splitlines()
    assert len(lines) == 1
    assert "File too large" in lines[0]
    assert contents(target) == {}


def test_a_target_that_is_no_directory_is_an_error(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"file.*\. Check the path"):
        fetch(server, tmp_path / "file" / "model")


# Timeouts and retries


def seconds_to_fail(server: BadServer, target: Path, limits: Limits, message: str) -> float:
    started = time.monotonic()
    with pytest.raises(FetchError, match=message) as caught:
        fetch(server, target, limits)
    assert "\n" not in str(caught.value)
    assert contents(target) == {}
    return time.monotonic() - started


@pytest.mark.parametrize("slow_reply", [drip(BODY), no_reply, stall(BODY, 200_000)])
def test_no_reply_takes_longer_than_the_total_timeout(
    server: BadServer, target: Path, slow_reply: Reply
) -> None:
    server.replies[ARTIFACT] = [slow_reply]
    limits = QUICK._replace(read=15, total=0.2)
    assert seconds_to_fail(server, target, limits, "timeout after 0.2 s") < 2


def test_the_process_does_not_wait_for_a_pending_read(server: BadServer, target: Path) -> None:
    server.replies[MANIFEST] = [no_reply]
    with start_fetch(server, target, total=0.1) as process:
        assert process.wait(10) == 1
        assert process.stderr
        assert "timeout after 0.1 s" in process.stderr.read()


def test_a_name_lookup_that_hangs_ends_with_the_timeout(
    target: Path, server: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: server.closing.wait(20))
    limits = QUICK._replace(total=0.2)
    assert seconds_to_fail(server, target, limits, "timeout after 0.2 s") < 2


def test_a_read_timeout_is_retried(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [no_reply, stall(BODY, 200_000), reply(BODY)]
    assert fetch(server, target, QUICK._replace(read=0.1)) == MODEL


def test_retry_after_is_the_wait_before_the_next_attempt(
    server: BadServer, target: Path, pauses: list[float]
) -> None:
    server.replies[ARTIFACT].insert(0, reply(status=429, Retry_After=7))
    assert fetch(server, target) == MODEL
    assert pauses == [7]


@pytest.mark.parametrize("wait", [20, 31, "Wed, 21 Oct 2115 07:28:00 GMT"])
def test_a_retry_after_that_is_too_long_is_an_error(
    server: BadServer, target: Path, wait: object
) -> None:
    server.replies[ARTIFACT] = [reply(status=503, Retry_After=wait)]
    limits = QUICK._replace(total=10 if wait == 20 else 120)
    assert seconds_to_fail(server, target, limits, "503") < 2
    assert server.paths().count(ARTIFACT) == 1


def test_waits_are_random_with_a_bound_that_doubles(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(download.random, "uniform", lambda *ends: bounds.append(ends) or 0)
    server.replies[MANIFEST] = [reply(status=500)]
    seconds_to_fail(server, target, Limits(), "500")
    assert bounds[:3] == [(0, 0.5), (0, 1), (0, 2)]
    assert pauses == [0, 0, 0]


# Statuses and ranges


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_temporary_error_is_retried(server: BadServer, target: Path, status: int) -> None:
    server.replies[ARTIFACT] = [*([reply(status=status)] * 3), reply(BODY)]
    assert fetch(server, target) == MODEL


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 416])
def test_a_permanent_error_is_not_retried(server: BadServer, target: Path, status: int) -> None:
    server.replies[ARTIFACT] = [reply(status=status)]
    remedy = "MODEL_AUTHORIZATION" if status in {401, 403} else "URL"
    with pytest.raises(FetchError, match=f"status {status}.*{remedy}"):
        fetch(server, target)
    assert server.paths() == [MANIFEST, ARTIFACT]


def test_a_refused_connection_is_retried(
    server: BadServer, target: Path, pauses: list[float]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        server.base = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(FetchError, match=r"refused.* Check the URL"):
            fetch(server, target)
    assert len(pauses) == QUICK.attempts - 1


def test_a_truncated_download_is_continued(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [
        reply(BODY, cut=300_000, ETag='"1"', Content_Length=None),
        reply(status=503),
        partial_content(BODY),
    ]
    assert fetch(server, target) == MODEL
    headers = server.requests[-1].headers
    assert int(headers["Range"].removeprefix("bytes=").removesuffix("-")) > 200_000
    assert headers["If-Range"] == '"1"'


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_a_download_without_a_strong_etag_starts_over(
    server: BadServer, target: Path, etag: str | None
) -> None:
    server.replies[ARTIFACT].insert(0, reply(BODY, cut=300_000, ETag=etag))
    assert fetch(server, target) == MODEL
    assert "Range" not in server.requests[-1].headers


@pytest.mark.parametrize(
    "second",
    [
        reply(BODY),
        reply(status=416, Content_Range=f"bytes */{len(BODY)}"),
        reply(BODY[9:], status=206, Content_Range=f"bytes 9-{len(BODY) - 1}/{len(BODY)}"),
        reply(BODY, status=206),
        partial_content(BODY + b"?"),
    ],
    ids=["whole", "unsatisfiable", "wrong start", "no range", "wrong total"],
)
def test_a_download_with_another_range_starts_over(
    server: BadServer, target: Path, second: Reply
) -> None:
    server.replies[ARTIFACT] = [reply(BODY, cut=300_000, ETag='"1"'), second, reply(BODY)]
    assert fetch(server, target) == MODEL
    ranges = ["Range" in request.headers for request in server.requests]
    assert ranges in ([False, False, True], [False, False, True, False])


def test_a_compressed_response_is_an_error(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [reply(BODY, Content_Encoding="gzip")]
    with pytest.raises(FetchError, match="unsupported Content-Encoding"):
        fetch(server, target)
    assert server.paths() == [MANIFEST, ARTIFACT]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


# Redirects and credentials


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: BadServer, target: Path, status: int) -> None:
    server.replies |= {f"/{n}": [redirect(f"/{n - 1}", status)] for n in range(2, 6)}
    server.replies |= {ARTIFACT: [redirect("/5", status)], "/1": [reply(BODY)]}
    assert fetch(server, target) == MODEL


def test_too_many_redirects_are_an_error(server: BadServer, target: Path) -> None:
    server.replies[ARTIFACT] = [redirect(ARTIFACT)]
    with pytest.raises(FetchError, match="too many redirects"):
        fetch(server, target)
    assert server.paths().count(ARTIFACT) == 6


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://192.0.2.1/x", "ftp://127.0.0.1/", "http://127.0.0.1.x.test/"],
)
def test_http_is_allowed_on_this_machine_only(
    server: BadServer, target: Path, location: str
) -> None:
    server.replies[ARTIFACT] = [redirect(location)]
    with pytest.raises(FetchError, match="Use https"):
        fetch(server, target)
    with pytest.raises(FetchError, match="Use https"):
        fetch_model(location, target)


@pytest.mark.parametrize("host", ["localhost", "127.9.9.9", "[::1]"])
def test_this_machine_has_several_names(target: Path, host: str) -> None:
    with pytest.raises(FetchError, match="Check the URL, the network"):
        fetch_model(f"http://{host}:1/", target, limits=QUICK._replace(attempts=1))


def test_a_redirect_from_https_to_http_is_an_error(
    server: BadServer,
    target: Path,
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with BadServer(tls=certificate[1]) as secure:
        secure.replies[MANIFEST] = [redirect(server.base + MANIFEST)]
        with pytest.raises(FetchError, match="Use https"):
            fetch(secure, target)
        assert server.paths() == []
        server.replies[MANIFEST] = [redirect(secure.base + "/new")]
        secure.replies["/new"] = [reply(MODEL["manifest.json"])]
        assert fetch(server, target) == MODEL


def test_certificates_are_verified(
    target: Path,
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    untrusted = r"certificate verify failed.* SSL_CERT_FILE"
    with BadServer(tls=certificate[1]) as secure:
        secure.replies = {MANIFEST: [reply(manifest_of())], ARTIFACT: [reply(BODY)]}
        with pytest.raises(FetchError, match=untrusted):
            fetch(secure, target)
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):  # the last wins
            monkeypatch.setenv(name, download.requests.certs.where())
            with pytest.raises(FetchError, match=untrusted):
                fetch(secure, target)
            monkeypatch.setenv(name, str(certificate[0]))
            assert fetch(secure, target) == MODEL
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
        with pytest.raises(FetchError, match="/nowhere"):
            fetch(secure, target)
    assert pauses == []


def test_the_authorization_is_sent_to_the_host_of_the_source_only(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_AUTHORIZATION", "Bearer secret\n")
    with BadServer() as other:
        server.replies[ARTIFACT] = [redirect("/here"), redirect(other.base + "/there")]
        server.replies["/here"] = [reply(status=503)]
        other.replies["/there"] = [reply(status=401)]
        with pytest.raises(FetchError, match="401") as caught:
            fetch(server, target)
        assert {request.headers["Authorization"] for request in server.requests} == {
            "Bearer secret"
        }
        assert other.paths() == ["/there"]
        assert "Authorization" not in other.requests[0].headers
    assert "secret" not in str(caught.value)


def test_netrc_is_not_used(
    server: BadServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert fetch(server, target) == MODEL
    assert all("Authorization" not in request.headers for request in server.requests)


def test_proxies_are_used_for_other_machines_only(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BadServer() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.base.replace("//", "//me:secret@"))
        assert fetch(server, target) == MODEL
        assert proxy.paths() == []
        with pytest.raises(FetchError, match=r"403.* proxy") as caught:
            fetch_model("https://model.test/manifest.json", target, limits=QUICK)
        assert set(proxy.paths()) == {"model.test:443"}
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("https_proxy", "http://me:secret@[proxy")
    with pytest.raises(FetchError, match="proxy") as caught:
        fetch_model("https://model.test/manifest.json", target, limits=QUICK)
    assert "secret" not in str(caught.value)


# Progress, messages and the hook


def test_progress_is_printed_after_every_tenth(
    server: BadServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = BODY * 8
    server.replies = {MANIFEST: [reply(manifest_of(body))], ARTIFACT: [reply(body)]}
    fetch_model(server.base + MANIFEST, target)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == f"model: 100 % of {len(body)} bytes"


@pytest.mark.parametrize("missing", ["nothing", "a terminal", "a person", "rich"])
def test_a_terminal_shows_a_bar_if_rich_is_installed(
    server: BadServer, target: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    rich = unittest.mock.MagicMock()
    monkeypatch.setitem(sys.modules, "rich.progress", rich)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: missing != "rich" or None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: missing != "a terminal")
    monkeypatch.setenv("CI", "true" if missing == "a person" else "")
    fetch_model(server.base + MANIFEST, target)
    bar = rich.Progress.return_value
    assert bar.__enter__.called == bar.__exit__.called == (missing == "nothing")


def test_a_message_is_one_line_of_ascii() -> None:
    assert str(FetchError("C:\\a: no\nsuch\x1b[1m é ☃")) == r"C:\a: no\nsuch\x1b[1m \xe9 \u2603"


def test_the_file_runs_by_its_path_and_parses_with_python_3_8(
    server: BadServer, target: Path
) -> None:
    path = Path(download.__file__)
    ast.parse(path.read_text(), feature_version=(3, 8))
    spec = importlib.util.spec_from_file_location("by_path", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fetch_model(server.base + MANIFEST, target, progress=print)
    assert contents(target) == MODEL
