"""Models are pushed to where they are kept and fetched from there: all of one, or nothing.

fsspec's file system in memory is the object store; the template's tests start real servers.
"""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving_engine.errors import ModelError
from serving_engine.model_files import remote
from serving_engine.model_files.download import FetchError, Limits
from serving_engine.model_files.object_store import ObjectStore
from serving_engine.model_files.remote import Kind, PushError, fetch_remote, push_model

from .conftest import Result

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

URL = "memory://models/iris/1"
FILES = {"manifest.json", "model.skops"}


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An empty store: its objects, by their paths."""
    monkeypatch.setitem(remote.HOMES, "memory", Kind(ObjectStore, "s3", "THE_KEYS"))
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem.store
    MemoryFileSystem.store.clear()


@pytest.fixture
def other_model(model_dir: Path, tmp_path: Path) -> Path:
    """The same file under another manifest."""
    directory = Path(shutil.copytree(model_dir, tmp_path / "other"))
    manifest = json.loads((directory / "manifest.json").read_bytes())
    manifest["description"] = "another"
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(store: dict[str, Any]) -> list[str]:
    """The objects of the store, in the order in which they were written."""
    return [path.removeprefix("/models/iris/1/") for path in store]


def fetch(target: Path, **options: Any) -> dict[str, bytes]:
    fetch_remote(URL, target, progress=lambda *_: None, **options)
    return contents(target)


def test_what_was_pushed_is_fetched(
    run: Callable[..., Result], model_dir: Path, tmp_path: Path, store: dict[str, Any]
) -> None:
    pushed = run("model", "push", URL, "--model-dir", str(model_dir))
    assert (pushed.code, pushed.out) == (0, f"pushed {model_dir} to {URL}\n")
    fetched = run("model", "fetch", URL, "--model-dir", str(tmp_path / "model"))
    assert fetched.code == 0
    assert contents(tmp_path / "model") == contents(model_dir)
    assert names(store) == ["model.skops", "manifest.json"]
    same = run("model", "fetch", f"{URL}/manifest.json", "--model-dir", str(tmp_path / "again"))
    assert same.code == 0


def test_a_second_push_of_the_same_uploads_what_is_missing(
    model_dir: Path, store: dict[str, Any]
) -> None:
    push_model(model_dir, URL)
    steps: list[str] = []
    push_model(model_dir, URL, progress=steps.append)
    assert steps == ["it is there already"]
    del store["/models/iris/1/model.skops"]
    push_model(model_dir, URL)
    assert set(names(store)) == FILES


def test_another_model_is_replaced_only_if_that_is_asked_for(
    model_dir: Path, other_model: Path, tmp_path: Path
) -> None:
    push_model(model_dir, URL)
    with pytest.raises(PushError, match=r"holds another model, test 1\..* add --replace\."):
        push_model(other_model, URL)
    assert fetch(tmp_path / "model") == contents(model_dir)
    push_model(other_model, URL, replace=True)
    assert fetch(tmp_path / "model") == contents(other_model)


def test_the_second_of_two_pushes_at_once_is_refused(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, store: dict[str, Any]
) -> None:
    put_file = MemoryFileSystem.put_file

    def put_and_lose(self: Any, *arguments: Any) -> None:
        put_file(self, *arguments)
        self.pipe_file(f"{URL}/manifest.json", b"{}")

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_and_lose)
    with pytest.raises(PushError, match="another push was quicker"):
        push_model(model_dir, URL)
    assert store["/models/iris/1/manifest.json"].getvalue() == b"{}"


@pytest.mark.parametrize("method", ["put_file", "pipe_file"])
def test_an_interrupted_push_leaves_no_model(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("connection reset")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryFileSystem, method, fail)
        with pytest.raises(PushError, match="connection reset"):
            push_model(model_dir, URL)
    with pytest.raises(FetchError, match="not found"):
        fetch(tmp_path / "model")
    assert contents(tmp_path / "model") == {}
    push_model(model_dir, URL)
    assert fetch(tmp_path / "model") == contents(model_dir)


def test_an_object_that_arrived_short_gets_no_manifest(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, store: dict[str, Any]
) -> None:
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, _, path: self.pipe_file(path, b"short")
    )
    with pytest.raises(PushError, match="another size"):
        push_model(model_dir, URL)
    assert names(store) == ["model.skops"]


def test_a_directory_that_is_not_what_its_manifest_says_is_not_pushed(
    other_model: Path, store: dict[str, Any]
) -> None:
    file = other_model / "model.skops"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="checksum mismatch"):
        push_model(other_model, URL)
    assert store == {}


@pytest.mark.parametrize(
    ("object_name", "change", "message"),
    [
        ("model.skops", lambda data: data[:-1] + b"?", "checksum mismatch"),
        ("model.skops", lambda data: data[:-1], "bytes arrived"),
        ("model.skops", lambda data: data + b"?", "size mismatch"),
        ("model.skops", lambda _: None, "not found"),
        ("manifest.json", lambda _: b"<html>", "invalid manifest"),
        ("manifest.json", lambda data: data + b" ", "checksum mismatch"),
        ("manifest.json", lambda _: bytes(2**21), "size mismatch"),
    ],
)
def test_a_damaged_object_leaves_the_old_model_in_place(
    model_dir: Path,
    other_model: Path,
    object_name: str,
    change: Callable[[bytes], bytes | None],
    message: str,
) -> None:
    push_model(model_dir, URL)
    files = MemoryFileSystem()
    data = change(files.cat_file(f"{URL}/{object_name}"))
    files.rm_file(f"{URL}/{object_name}")
    if data is not None:
        files.pipe_file(f"{URL}/{object_name}", data)
    (other_model / "model.skops").write_bytes(b"old")
    before = contents(other_model)
    sha256 = "0" * 64 if message == "checksum mismatch" and object_name != "model.skops" else None
    with pytest.raises(FetchError, match=message) as caught:
        fetch(other_model, sha256=sha256, limits=Limits(backoff=0))
    assert contents(other_model) == before
    assert "\n" not in str(caught.value)


def test_a_model_over_the_limit_is_neither_fetched_nor_pushed(
    run: Callable[..., Result],
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: dict[str, Any],
) -> None:
    push_model(model_dir, URL)
    monkeypatch.setenv("SERVING_MAX_MODEL_BYTES", "1000")
    fetched = run("model", "fetch", URL, "--model-dir", str(tmp_path / "model"))
    assert (fetched.code, contents(tmp_path / "model")) == (1, {})
    assert "too large model" in fetched.err
    store.clear()
    pushed = run("model", "push", URL, "--model-dir", str(model_dir))
    assert (pushed.code, store) == (3, {})
    assert "SERVING_MAX_MODEL_BYTES is 1000" in pushed.err


def test_two_fetches_at_once_both_succeed(model_dir: Path, tmp_path: Path) -> None:
    push_model(model_dir, URL)
    both = threading.Barrier(2, timeout=20)

    def fetch_together() -> None:
        fetch_remote(URL, tmp_path / "model", progress=lambda *_: both.wait())

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(fetch_together) for _ in range(2)]:
            one.result()
    assert contents(tmp_path / "model") == contents(model_dir)


def test_a_store_that_hangs_ends_with_a_timeout(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "_open", lambda *_, **__: over.wait(20))
    with pytest.raises(FetchError, match=r"timeout after 0\.3 s"):
        fetch(tmp_path / "model", limits=Limits(total=0.3))
    with pytest.raises(PushError, match=r"timeout after 0\.3 s"):
        push_model(model_dir, URL, limits=Limits(total=0.3))
    over.set()
    assert contents(tmp_path / "model") == {}


def test_wrong_credentials_are_one_line_that_names_the_right_ones_and_no_secret(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("denied: https://x.test/a?sig=SECRET and\nmore of the response")

    monkeypatch.setattr(MemoryFileSystem, "_open", refuse)
    result = run("model", "fetch", URL, "--model-dir", str(tmp_path / "model"))
    assert result.code == 1
    assert result.err == (
        f"error: {URL}/manifest.json: PermissionError: denied: https://x.test/a and. "
        "Check the URL and the credentials: THE_KEYS.\n"
    )


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("s3://models/iris", ("s3fs", "s3")),
        ("gs://models/iris", ("gcsfs", "gcs")),
        ("az://models/iris", ("adlfs", "azure")),
        ("hf://someone/iris", ("huggingface_hub", "huggingface")),
        ("models:/iris@champion", ("mlflow", "mlflow")),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    missing: tuple[str, str],
) -> None:
    library, extra = missing
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    result = run("model", "fetch", url, "--model-dir", str(tmp_path / "model"))
    assert result.code == 1
    assert result.err.endswith(f"is not installed. Add it: uv add 'serving-engine[{extra}]'\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://models.test/iris"], "unsupported URL"),
        (["/mnt/models/iris"], "unsupported URL"),
        ([URL, "--alias", "champion"], "only a registry has aliases"),
    ],
)
def test_a_push_that_cannot_be_meant_is_refused(
    run: Callable[..., Result], model_dir: Path, arguments: list[str], message: str
) -> None:
    result = run("model", "push", *arguments, "--model-dir", str(model_dir))
    assert result.code == 1
    assert message in result.err
