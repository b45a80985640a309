"""Downloads, against a real server on this machine that misbehaves."""

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

from {{ cookiecutter.__package_name }}.artifact import fetch
from {{ cookiecutter.__package_name }}.artifact.fetch import FetchError, Limits, fetch_model

from .loopback import Handler, Loopback, Reply, drip, redirect, reply, rest, silence, stall

BODY = bytes(range(256)) * 1600  # a few of the blocks that it is read in
QUICK = Limits(connect=2, read=2, total=20, backoff=0)
MANIFEST, ARTIFACT = "/manifest.json", "/model.skops"
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_of(body: bytes = BODY, **changes: object) -> bytes:
    artifact = {"file": "model.skops", "size": len(body), "sha256": sha256(body), **changes}
    return json.dumps({"artifact": artifact}).encode()


MODEL = {"manifest.json": manifest_of(), "model.skops": BODY}
OLD = {"manifest.json": manifest_of(b"old"), "model.skops": b"old"}


def put(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def get(
    server: Loopback, target: Path, limits: Limits = QUICK, sha256: str | None = None
) -> dict[str, bytes]:
    """Fetch, and what is in the target then."""
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
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        server.replies = {MANIFEST: [reply(MODEL["manifest.json"])], ARTIFACT: [reply(BODY)]}
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps; this is for how long they would have."""
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


# What is fetched, and what is not


def test_a_model_is_fetched(server: Loopback, target: Path) -> None:
    assert get(server, target, sha256=sha256(MODEL["manifest.json"]).upper()) == MODEL
    assert server.paths() == [MANIFEST, ARTIFACT]
    (target / "ordinary").touch()
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1


def test_a_local_model_is_copied_and_verified(tmp_path: Path, target: Path) -> None:
    source = put(MODEL, tmp_path / "source")
    fetch_model(str(source / "manifest.json"), target, limits=QUICK)
    assert contents(target) == MODEL
    (source / "model.skops").write_bytes(BODY[:-1] + b"?")
    with pytest.raises(FetchError, match="wrong SHA-256"):
        fetch_model(str(source / "manifest.json"), tmp_path / "other", limits=QUICK)
    with pytest.raises(FetchError, match="No such file"):
        fetch_model(str(source / "nothing.json"), target, limits=QUICK)


def test_what_is_there_and_right_is_not_touched(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(MODEL, target)
    with monkeypatch.context() as read_only:
        read_only.delattr(Path, "replace")
        read_only.delattr(os, "fsync")
        assert get(server, target, sha256=sha256(MODEL["manifest.json"]).upper()) == MODEL
    assert server.paths() == []
    assert get(server, target) == MODEL
    assert server.paths() == [MANIFEST]
    (target / "model.skops").write_bytes(b"damaged")
    assert get(server, target, sha256=sha256(MODEL["manifest.json"])) == MODEL
    assert server.paths() == [MANIFEST, ARTIFACT]


def test_the_artifact_lies_beside_the_manifest(server: Loopback, target: Path) -> None:
    server.replies |= {"/": [reply(manifest_of(b"1"))], "/a/b?key": [reply(manifest_of(b"2"))]}
    server.replies |= {ARTIFACT: [reply(b"1")], f"/a{ARTIFACT}": [reply(b"2")]}
    fetch_model(server.base, target)
    fetch_model(f"{server.base}/a/b?key", target)
    assert server.paths() == ["/", ARTIFACT, "/a/b?key", f"/a{ARTIFACT}"]


@pytest.mark.parametrize("host", ["127.0.0.1:{}", ""])
def test_what_may_be_secret_in_a_url_is_not_shown(
    server: Loopback, target: Path, pauses: list[float], host: str
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
def test_a_manifest_that_names_no_proper_artifact_is_refused(
    server: Loopback, target: Path, changes: dict[str, object]
) -> None:
    server.replies[MANIFEST] = [reply(manifest_of(**changes))]
    with pytest.raises(FetchError, match="describes no model"):
        get(server, target)
    assert server.paths() == [MANIFEST]
    assert contents(target) == {}


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"artifact": 1}', b"[" * 99999, b"\xff", manifest_of(sha256=7)],
)
def test_what_is_not_a_manifest_is_refused(server: Loopback, target: Path, body: bytes) -> None:
    server.replies[MANIFEST] = [reply(body)]
    with pytest.raises(FetchError, match=r"describes no model|SHA-256"):
        get(server, target)
    assert contents(target) == {}


# Whole and right, or nothing


@pytest.mark.parametrize("path", [MANIFEST, ARTIFACT])
def test_another_hash_is_given_one_more_chance(server: Loopback, target: Path, path: str) -> None:
    put(OLD, target)
    right = server.replies[path][0]
    pin = sha256(MODEL["manifest.json"])
    wrong = reply(MODEL[path[1:]][:-1] + b"?", ETag='"1"')
    server.replies[path] = [wrong]
    with pytest.raises(FetchError, match="wrong SHA-256"):
        get(server, target, sha256=pin)
    assert server.paths().count(path) == 2
    assert all("Range" not in request.headers for request in server.requests)
    assert contents(target) == OLD
    server.replies[path] = [wrong, right]
    assert get(server, target, sha256=pin) == MODEL


@pytest.mark.parametrize("path", [MANIFEST, ARTIFACT])
@pytest.mark.parametrize("length", [None, 2**40])
def test_too_much_is_cut_off_at_once(
    server: Loopback, target: Path, path: str, length: int | None
) -> None:
    server.replies[path] = [reply(bytes(2**22), Content_Length=length)]
    put(OLD, target)
    with pytest.raises(FetchError, match="longer than it should be"):
        get(server, target)
    assert server.paths().count(path) == 1
    assert contents(target) == OLD


@pytest.mark.parametrize("length", [None, len(BODY)])
def test_a_truncated_answer_is_noticed(server: Loopback, target: Path, length: int | None) -> None:
    server.replies[ARTIFACT] = [reply(BODY, cut=300_000, Content_Length=length)]
    put(OLD, target)
    with pytest.raises(FetchError, match=r"/model\.skops"):
        get(server, target)
    assert server.paths().count(ARTIFACT) == QUICK.attempts
    assert contents(target) == OLD


def test_a_truncated_manifest_is_fetched_again(server: Loopback, target: Path) -> None:
    long = MODEL["manifest.json"] + bytes(300_000).replace(b"\0", b" ")
    server.replies[MANIFEST] = [reply(long, cut=299_999, ETag='"1"'), reply(long)]
    assert get(server, target) == {**MODEL, "manifest.json": long}
    assert all("Range" not in request.headers for request in server.requests)


def test_an_answer_without_a_length_is_fine(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [reply(BODY, Content_Length=None)]
    assert get(server, target) == MODEL


def test_nothing_shows_under_the_final_name_before_the_end(server: Loopback, target: Path) -> None:
    seen = []
    put(OLD, target)
    fetch_model(
        server.base + MANIFEST,
        target,
        progress=lambda *_: seen.append({name: contents(target)[name] for name in OLD}),
    )
    assert seen
    assert all(files == OLD for files in seen)
    assert contents(target) == MODEL


def test_the_manifest_is_the_last_to_change(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda part, final: (replaced.append(final.name), replace(part, final))
    )
    get(server, target)
    assert replaced == ["model.skops", "manifest.json"]


@POSIX
def test_a_power_cut_loses_nothing(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    get(server, target)
    assert {path.stat().st_ino for path in [target, *target.iterdir()]} == set(synced)


@pytest.mark.parametrize("times", [4, 5])
def test_a_virus_scanner_is_waited_for(
    server: Loopback,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
    times: int,
) -> None:
    replace, refusals = Path.replace, iter([PermissionError(13, "In use")] * times)

    def refuse_at_first(part: Path, final: Path) -> None:
        if error := next(refusals, None):
            raise error
        replace(part, final)

    monkeypatch.setattr(Path, "replace", refuse_at_first)
    with pytest.raises(FetchError, match="In use") if times > 4 else contextlib.nullcontext():
        assert get(server, target) == MODEL
    assert len(pauses) == 4


# In processes of their own


SCRIPT = f"""
import sys
from pathlib import Path
from {fetch.__name__} import FetchError, Limits, fetch_model
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


def start(
    server: Loopback, target: Path, total: float = 120, before: str = ""
) -> subprocess.Popen[str]:
    arguments = [server.base + MANIFEST, str(target), str(total)]
    return subprocess.Popen(
        [sys.executable, "-c", before + SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_at_once_both_succeed(server: Loopback, target: Path) -> None:
    together = threading.Barrier(2, timeout=20)

    def wait_for_the_other(handler: Handler) -> None:
        together.wait()
        reply(BODY)(handler)

    server.replies[ARTIFACT] = [wait_for_the_other]
    with start(server, target) as first, start(server, target) as second:
        assert (first.wait(20), second.wait(20)) == (0, 0)
    assert contents(target) == MODEL


@POSIX
def test_an_interrupt_leaves_nothing_behind(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [stall(BODY, 300_000)]
    put(OLD, target)
    with start(server, target) as process:
        assert process.stdout
        process.stdout.readline()
        assert contents(target) != OLD
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert process.stderr
        assert "KeyboardInterrupt" in process.stderr.read()
    assert contents(target) == OLD


def test_what_a_killed_run_left_is_no_hindrance_and_goes_in_time(
    server: Loopback, target: Path
) -> None:
    server.replies[ARTIFACT] = [stall(BODY, 300_000), reply(BODY)]
    with start(server, target) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
    left = set(contents(target))
    assert left
    assert not left & set(MODEL)
    assert set(get(server, target)) == {*MODEL, *left}  # it might belong to a living run
    for name in left:
        os.utime(target / name, (time.time() - 7200,) * 2)
    assert get(server, target) == MODEL


@POSIX
def test_a_full_disk_is_one_line(server: Loopback, target: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    with start(server, target, before=limit) as process:
        assert process.stderr
        lines = process.stderr.read().splitlines()
    assert len(lines) == 1
    assert "File too large" in lines[0]
    assert contents(target) == {}


def test_a_target_that_cannot_be_written_is_one_line(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"file.*\. Check the path"):
        get(server, tmp_path / "file" / "model")


# Time


def seconds_to_fail(server: Loopback, target: Path, limits: Limits, message: str) -> float:
    begun = time.monotonic()
    with pytest.raises(FetchError, match=message) as caught:
        get(server, target, limits)
    assert "\n" not in str(caught.value)
    assert contents(target) == {}
    return time.monotonic() - begun


@pytest.mark.parametrize("answer", [drip(BODY), silence, stall(BODY, 200_000)])
def test_nothing_takes_longer_than_the_total(server: Loopback, target: Path, answer: Reply) -> None:
    server.replies[ARTIFACT] = [answer]
    limits = QUICK._replace(read=15, total=0.2)
    assert seconds_to_fail(server, target, limits, "took more than 0.2 s") < 2


def test_the_process_does_not_wait_for_what_is_still_reading(
    server: Loopback, target: Path
) -> None:
    server.replies[MANIFEST] = [silence]
    with start(server, target, total=0.1) as process:
        assert process.wait(10) == 1
        assert process.stderr
        assert "took more than 0.1 s" in process.stderr.read()


def test_a_name_lookup_that_hangs_ends_too(
    target: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: server.closing.wait(20))
    limits = QUICK._replace(total=0.2)
    assert seconds_to_fail(server, target, limits, "took more than 0.2 s") < 2


def test_a_silent_server_is_tried_again(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [silence, stall(BODY, 200_000), reply(BODY)]
    assert get(server, target, QUICK._replace(read=0.1)) == MODEL


def test_the_wait_that_a_server_asks_for_is_kept(
    server: Loopback, target: Path, pauses: list[float]
) -> None:
    server.replies[ARTIFACT].insert(0, reply(status=429, Retry_After=7))
    assert get(server, target) == MODEL
    assert pauses == [7]


@pytest.mark.parametrize("wait", [20, 31, "Wed, 21 Oct 2115 07:28:00 GMT"])
def test_a_wait_that_is_too_long_is_not_begun(server: Loopback, target: Path, wait: object) -> None:
    server.replies[ARTIFACT] = [reply(status=503, Retry_After=wait)]
    limits = QUICK._replace(total=10 if wait == 20 else 120)
    assert seconds_to_fail(server, target, limits, "503") < 2
    assert server.paths().count(ARTIFACT) == 1


def test_waits_are_random_up_to_a_bound_that_doubles(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(fetch.random, "uniform", lambda *ends: bounds.append(ends) or 0)
    server.replies[MANIFEST] = [reply(status=500)]
    seconds_to_fail(server, target, Limits(), "500")
    assert bounds[:3] == [(0, 0.5), (0, 1), (0, 2)]
    assert pauses == [0, 0, 0]


# What is tried again, and from where


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: Loopback, target: Path, status: int) -> None:
    server.replies[ARTIFACT] = [*([reply(status=status)] * 3), reply(BODY)]
    assert get(server, target) == MODEL


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 416])
def test_what_will_not_pass_is_asked_once(server: Loopback, target: Path, status: int) -> None:
    server.replies[ARTIFACT] = [reply(status=status)]
    remedy = "MODEL_AUTHORIZATION" if status in {401, 403} else "URL"
    with pytest.raises(FetchError, match=f"answered {status}.*{remedy}"):
        get(server, target)
    assert server.paths() == [MANIFEST, ARTIFACT]


def test_a_connection_that_is_refused_is_tried_again(
    server: Loopback, target: Path, pauses: list[float]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        server.base = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(FetchError, match=r"refused.* Check the URL"):
            get(server, target)
    assert len(pauses) == QUICK.attempts - 1


def test_a_download_goes_on_where_it_broke_off(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [
        reply(BODY, cut=300_000, ETag='"1"', Content_Length=None),
        reply(status=503),
        rest(BODY),
    ]
    assert get(server, target) == MODEL
    headers = server.requests[-1].headers
    assert int(headers["Range"].removeprefix("bytes=").removesuffix("-")) > 200_000
    assert headers["If-Range"] == '"1"'


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_what_cannot_be_told_apart_is_not_continued(
    server: Loopback, target: Path, etag: str | None
) -> None:
    server.replies[ARTIFACT].insert(0, reply(BODY, cut=300_000, ETag=etag))
    assert get(server, target) == MODEL
    assert "Range" not in server.requests[-1].headers


@pytest.mark.parametrize(
    "second",
    [
        reply(BODY),
        reply(status=416, Content_Range=f"bytes */{len(BODY)}"),
        reply(BODY[9:], status=206, Content_Range=f"bytes 9-{len(BODY) - 1}/{len(BODY)}"),
        reply(BODY, status=206),
        rest(BODY + b"?"),
    ],
    ids=["whole", "unsatisfiable", "wrong start", "no range", "wrong total"],
)
def test_another_range_than_the_wanted_one_is_dropped(
    server: Loopback, target: Path, second: Reply
) -> None:
    server.replies[ARTIFACT] = [reply(BODY, cut=300_000, ETag='"1"'), second, reply(BODY)]
    assert get(server, target) == MODEL
    ranges = ["Range" in request.headers for request in server.requests]
    assert ranges in ([False, False, True], [False, False, True, False])


def test_compressed_answers_are_not_asked_for_and_refused(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [reply(BODY, Content_Encoding="gzip")]
    with pytest.raises(FetchError, match="compressed"):
        get(server, target)
    assert server.paths() == [MANIFEST, ARTIFACT]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


# Where it leads, and what is sent there


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Loopback, target: Path, status: int) -> None:
    server.replies |= {f"/{n}": [redirect(f"/{n - 1}", status)] for n in range(2, 6)}
    server.replies |= {ARTIFACT: [redirect("/5", status)], "/1": [reply(BODY)]}
    assert get(server, target) == MODEL


def test_redirects_end(server: Loopback, target: Path) -> None:
    server.replies[ARTIFACT] = [redirect(ARTIFACT)]
    with pytest.raises(FetchError, match="too often"):
        get(server, target)
    assert server.paths().count(ARTIFACT) == 6


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://192.0.2.1/x", "ftp://127.0.0.1/", "http://127.0.0.1.x.test/"],
)
def test_only_https_or_this_machine(server: Loopback, target: Path, location: str) -> None:
    server.replies[ARTIFACT] = [redirect(location)]
    with pytest.raises(FetchError, match="Use https"):
        get(server, target)
    with pytest.raises(FetchError, match="Use https"):
        fetch_model(location, target)


@pytest.mark.parametrize("host", ["localhost", "127.9.9.9", "[::1]"])
def test_this_machine_has_more_than_one_name(target: Path, host: str) -> None:
    with pytest.raises(FetchError, match="Check the URL, the network"):
        fetch_model(f"http://{host}:1/", target, limits=QUICK._replace(attempts=1))


def test_from_https_no_redirect_leads_to_http(
    server: Loopback,
    target: Path,
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Loopback(tls=certificate[1]) as secure:
        secure.replies[MANIFEST] = [redirect(server.base + MANIFEST)]
        with pytest.raises(FetchError, match="Use https"):
            get(secure, target)
        assert server.paths() == []
        server.replies[MANIFEST] = [redirect(secure.base + "/new")]
        secure.replies["/new"] = [reply(MODEL["manifest.json"])]
        assert get(server, target) == MODEL


def test_certificates_are_verified(
    target: Path,
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    untrusted = r"certificate verify failed.* SSL_CERT_FILE"
    with Loopback(tls=certificate[1]) as secure:
        secure.replies = {MANIFEST: [reply(manifest_of())], ARTIFACT: [reply(BODY)]}
        with pytest.raises(FetchError, match=untrusted):
            get(secure, target)
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):  # the last wins
            monkeypatch.setenv(name, fetch.requests.certs.where())
            with pytest.raises(FetchError, match=untrusted):
                get(secure, target)
            monkeypatch.setenv(name, str(certificate[0]))
            assert get(secure, target) == MODEL
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
        with pytest.raises(FetchError, match="/nowhere"):
            get(secure, target)
    assert pauses == []


def test_the_login_goes_to_the_source_alone(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_AUTHORIZATION", "Bearer secret\n")
    with Loopback() as other:
        server.replies[ARTIFACT] = [redirect("/here"), redirect(other.base + "/there")]
        server.replies["/here"] = [reply(status=503)]
        other.replies["/there"] = [reply(status=401)]
        with pytest.raises(FetchError, match="401") as caught:
            get(server, target)
        assert {request.headers["Authorization"] for request in server.requests} == {
            "Bearer secret"
        }
        assert other.paths() == ["/there"]
        assert "Authorization" not in other.requests[0].headers
    assert "secret" not in str(caught.value)


def test_no_login_comes_from_netrc(
    server: Loopback, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert get(server, target) == MODEL
    assert all("Authorization" not in request.headers for request in server.requests)


def test_proxies_are_for_other_machines(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.base.replace("//", "//me:secret@"))
        assert get(server, target) == MODEL
        assert proxy.paths() == []
        with pytest.raises(FetchError, match=r"403.* proxy") as caught:
            fetch_model("https://model.test/manifest.json", target, limits=QUICK)
        assert set(proxy.paths()) == {"model.test:443"}
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("https_proxy", "http://me:secret@[proxy")
    with pytest.raises(FetchError, match="proxy") as caught:
        fetch_model("https://model.test/manifest.json", target, limits=QUICK)
    assert "secret" not in str(caught.value)


# Progress, errors and the hook


def test_progress_is_a_line_for_every_tenth(
    server: Loopback, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = BODY * 8
    server.replies = {MANIFEST: [reply(manifest_of(body))], ARTIFACT: [reply(body)]}
    fetch_model(server.base + MANIFEST, target)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == f"model: 100 % of {len(body)} bytes"


@pytest.mark.parametrize("lacking", ["nothing", "a terminal", "a person", "rich"])
def test_a_terminal_has_a_bar_if_rich_is_there(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    rich = unittest.mock.MagicMock()
    monkeypatch.setitem(sys.modules, "rich.progress", rich)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: lacking != "rich" or None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: lacking != "a terminal")
    monkeypatch.setenv("CI", "true" if lacking == "a person" else "")
    fetch_model(server.base + MANIFEST, target)
    bar = rich.Progress.return_value
    assert bar.__enter__.called == bar.__exit__.called == (lacking == "nothing")


def test_an_error_is_one_line_of_ascii() -> None:
    assert str(FetchError("C:\\a: no\nsuch\x1b[1m é ☃")) == r"C:\a: no\nsuch\x1b[1m \xe9 \u2603"


def test_the_file_runs_alone_and_on_an_old_python(server: Loopback, target: Path) -> None:
    path = Path(fetch.__file__)
    ast.parse(path.read_text(), feature_version=(3, 8))
    spec = importlib.util.spec_from_file_location("by_path", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fetch_model(server.base + MANIFEST, target, progress=print)
    assert contents(target) == MODEL
