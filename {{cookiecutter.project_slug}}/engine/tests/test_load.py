"""Loading a model directory: every corruption has its own error, in one line, and does no harm."""

import ast
import copy
import io
import json
import logging
import os
import random
import re
import shutil
import signal as signals
import socket
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import serving_engine
import skops.io
from serving_engine import Service, blas_threads
from serving_engine.cli import main
from serving_engine.errors import ModelError
from serving_engine.model_files import load_errors, read_artifact, zip_check
from serving_engine.runtimes.scikit_learn import loading
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from . import test_python_runtime
from .corruptions import (
    Corruption,
    archive,
    artifact,
    built_with,
    edit_schema,
    false_size,
    first_example,
    fitted_with,
    link_artifact,
    manifest,
    pack_object,
    read,
    record,
    remove_column,
    replace_artifact,
    signature,
    unpack,
    write,
)
from .example_service import transformers
from .models import load_directory, package_estimator, package_iris
from .service import PACKAGE, environment, run_script

MAX = 2**24
SOURCE = Path(serving_engine.__file__).parent


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_iris(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def model(good: Path, tmp_path: Path) -> Path:
    """A copy of a good model, to be corrupted."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.fixture
def failing_check(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[Path], str]:
    """Run `check` in this process; it must end with code 3 and one line, which is returned."""

    def run(directory: Path) -> str:
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(blas_threads, "limit_threads_of_imports", lambda: None)
        monkeypatch.setenv("SERVING_MAX_MODEL_BYTES", str(MAX))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.run_command_line(Service(PACKAGE), ["check", "--model-dir", str(directory)])
        assert ended.value.code == 3
        out, err = capfd.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        return line

    return run


def load_error(directory: Path, max_bytes: int = MAX) -> load_errors.LoadError:
    """The error that `load_directory` raises; it must be one printable line."""
    with pytest.raises(ModelError) as caught:
        load_directory(directory, max_bytes)
    assert isinstance(caught.value, load_errors.LoadError)
    assert str(caught.value).isprintable()
    return caught.value


class Bomb:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def fit_iris(estimator: Any) -> Any:
    """Fit a small classifier with the four columns and three labels of the good model."""
    rows = np.random.default_rng(0).normal(size=(30, 4))
    return estimator.fit(rows, np.array(["setosa", "versicolor", "virginica"] * 10))


def incomplete_transformer() -> ColumnTransformer:
    """A transformer with the names of the good model's columns, and no other fitted attribute."""
    transformer = ColumnTransformer([])
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    transformer.feature_names_in_ = np.array(names, dtype=object)
    return transformer


ZEROS = bytes(2**20)
HTML = b"<!DOCTYPE html><title>Sign in</title>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 23894\n"

CORRUPTIONS: dict[str, tuple[Corruption, type[ModelError], str]] = {
    "no directory": (shutil.rmtree, load_errors.DirectoryMissing, "model fetch URL"),
    "a file in place of the directory": (
        lambda model: (shutil.rmtree(model), model.touch()),
        load_errors.DirectoryMissing,
        "no directory",
    ),
    "no manifest": (
        lambda model: (model / "manifest.json").unlink(),
        load_errors.ManifestMissing,
        "model package FILE",
    ),
    "a manifest that is a directory": (
        lambda model: ((model / "manifest.json").unlink(), (model / "manifest.json").mkdir()),
        load_errors.ManifestUnreadable,
        "cannot read",
    ),
    "a manifest of a later version": (
        lambda model: write(model, {"schema_version": 2}),
        load_errors.ManifestNewer,
        "Upgrade the service",
    ),
    "a manifest without members": (
        lambda model: write(model, {"schema_version": 1}),
        load_errors.ManifestInvalid,
        "name: ",
    ),
    "no artifact": (
        lambda model: artifact(model).unlink(),
        load_errors.ArtifactMissing,
        "model.skops",
    ),
    "a broken link": (link_artifact("nowhere"), load_errors.ArtifactMissing, "model fetch URL"),
    "a link to itself": (
        link_artifact("model.skops"),
        load_errors.ArtifactUnreadable,
        "symbolic links",
    ),
    "an artifact that is a directory": (
        lambda model: (artifact(model).unlink(), artifact(model).mkdir()),
        load_errors.ArtifactUnreadable,
        "Is a directory",
    ),
    "an empty artifact": (
        lambda model: artifact(model).write_bytes(b""),
        load_errors.SizeMismatch,
        "and has none",
    ),
    "a web page": (
        lambda model: artifact(model).write_bytes(HTML),
        load_errors.SizeMismatch,
        "web page",
    ),
    "a web page with the right checksum": (
        replace_artifact(HTML),
        load_errors.InvalidArchive,
        "web page",
    ),
    "a Git LFS pointer": (
        lambda model: artifact(model).write_bytes(LFS),
        load_errors.SizeMismatch,
        "; it is a Git LFS pointer. Run `git lfs pull`.",
    ),
    "a truncated file": (
        lambda model: os.truncate(artifact(model), 10_000),
        load_errors.SizeMismatch,
        "has 10000",
    ),
    "a longer file": (
        lambda model: os.truncate(artifact(model), 100_000),
        load_errors.SizeMismatch,
        "has more",
    ),
    "another checksum": (record(sha256="0" * 64), load_errors.ChecksumMismatch, "SHA-256"),
    "another size": (record(size=23), load_errors.SizeMismatch, "should have 23"),
    "a huge size": (
        record(size=10**15),
        load_errors.ArtifactTooLarge,
        "SERVING_MAX_MODEL_BYTES",
    ),
    "a zip bomb": (
        replace_artifact(archive({"schema.json": ZEROS}, zipfile.ZIP_DEFLATED)),
        load_errors.InvalidArchive,
        "more than 100 times",
    ),
    "a zip bomb of many members": (
        replace_artifact(archive({str(n): ZEROS + os.urandom(2**15) for n in range(17)}, 8)),
        load_errors.ArtifactTooLarge,
        "expands to more",
    ),
    "a zip bomb with a false size": (
        replace_artifact(false_size(real=2**20, stated=1000, summed=1000)),
        load_errors.InvalidArchive,
        "Bad CRC",
    ),
    "a zip bomb with a false size and a matching checksum": (
        replace_artifact(false_size(real=2**20, stated=1000, summed=1001)),
        load_errors.InvalidArchive,
        "another size",
    ),
    "a stored member with a false size": (
        replace_artifact(
            archive({"a": bytes(1000)}).replace(b"\xe8\x03\0\0\xe8\x03", b"\xe8\x03\0\0\xe7\x03")
        ),
        load_errors.InvalidArchive,
        "another size",
    ),
    "a zip bomb in a nested archive": (
        replace_artifact(archive({"a.npz": archive({str(n): ZEROS for n in range(17)}, 8)})),
        load_errors.ArtifactTooLarge,
        "expands to more",
    ),
    "an unsupported compression": (
        replace_artifact(archive({"a": b"a"}, zipfile.ZIP_BZIP2)),
        load_errors.InvalidArchive,
        "deflate",
    ),
    "a member name with ..": (
        replace_artifact(archive({"../x": b""})),
        load_errors.InvalidArchive,
        "points outside",
    ),
    "a member name with .. and backslashes": (
        replace_artifact(archive({"a\\..\\x": b""})),
        load_errors.InvalidArchive,
        "points outside",
    ),
    "an absolute member name": (
        replace_artifact(archive({"/etc/x": b""})),
        load_errors.InvalidArchive,
        "points outside",
    ),
    "a member name with a drive": (
        replace_artifact(archive({"C:x": b""})),
        load_errors.InvalidArchive,
        "points outside",
    ),
    "an empty archive": (replace_artifact(archive({})), load_errors.InvalidArtifact, "schema.json"),
    "another schema": (
        replace_artifact(archive({"schema.json": b"[]"})),
        load_errors.InvalidArtifact,
        "AttributeError",
    ),
    "a later protocol of skops": (
        edit_schema(lambda schema: schema.update(protocol=999)),
        load_errors.InvalidArtifact,
        "update skops",
    ),
    "deep nesting": (
        replace_artifact(archive({"schema.json": b"[" * 100_000})),
        load_errors.InvalidArtifact,
        "RecursionError",
    ),
    "another format": (record(format="pmml"), load_errors.UnsupportedFormat, "unsupported"),
    "the format pickle": (record(format="pickle"), load_errors.UnsupportedFormat, "unsupported"),
    "a type that is never trusted": (
        pack_object([fit_iris(LogisticRegression()), os.getcwd]),
        load_errors.UntrustedTypes,
        "posix.getcwd" if os.name == "posix" else "nt.getcwd",
    ),
    "a type that the manifest does not trust": (
        pack_object(fit_iris(DecisionTreeClassifier())),
        load_errors.UntrustedTypes,
        "sklearn.tree._tree.Tree",
    ),
    "a type that only the manifest trusts": (
        pack_object(os.getcwd, trusted_types=["posix.getcwd"]),
        load_errors.UntrustedTypes,
        "use a function in",
    ),
    "a class that transformers.py does not define": (
        record(trusted_types=[f"{transformers.__name__}.Nothing"]),
        load_errors.UntrustedTypes,
        "does not define Nothing",
    ),
    "an earlier scikit-learn": (
        manifest(built_with={"scikit-learn": "1.8.0"}),
        load_errors.VersionMismatch,
        "uv add 'scikit-learn~=1.8.0'",
    ),
    "a later scikit-learn": (
        manifest(built_with={"scikit-learn": "9.10.1"}),
        load_errors.VersionMismatch,
        version("scikit-learn"),
    ),
    "no release of scikit-learn": (
        manifest(built_with={}),
        load_errors.VersionMismatch,
        "names no scikit-learn release",
    ),
    "an earlier scikit-learn in the artifact only": (
        fitted_with("1.8.0"),
        load_errors.VersionMismatch,
        "1.8.0",
    ),
    "a later scikit-learn in the artifact only": (
        fitted_with("9.10.1"),
        load_errors.VersionMismatch,
        "9.10.1",
    ),
    "a release that is a number": (
        edit_schema(
            lambda schema: [
                node.update(content="1.5")
                for node in nodes(schema)
                if node.get("content") == json.dumps(version("scikit-learn"))
            ]
        ),
        load_errors.VersionMismatch,
        "scikit-learn 1.5, and",
    ),
    "an incomplete estimator": (
        pack_object(make_pipeline(incomplete_transformer(), fit_iris(LogisticRegression()))),
        load_errors.SignatureMismatch,
        "not a valid estimator",
    ),
    "no estimator": (pack_object(["a"]), load_errors.SignatureMismatch, "no method predict."),
    "a transformer": (
        pack_object(StandardScaler()),
        load_errors.SignatureMismatch,
        "no method predict.",
    ),
    "a classifier without probabilities": (
        pack_object(fit_iris(SVC())),
        load_errors.SignatureMismatch,
        "no method predict_proba",
    ),
    "an estimator that is not fitted": (
        pack_object(LogisticRegression()),
        load_errors.SignatureMismatch,
        "classes",
    ),
    "a library that is missing": (
        built_with(no_such_library="4.7.0"),
        load_errors.LibraryMissing,
        "uv add 'no_such_library>=4.7.0,<5'",
    ),
    "fewer columns": (remove_column, load_errors.SignatureMismatch, "takes 4 columns"),
    "other labels": (signature(classes=["a", "b", "c"]), load_errors.SignatureMismatch, "classes"),
    "fewer labels": (
        signature(classes=["setosa", "virginica"]),
        load_errors.SignatureMismatch,
        "classes",
    ),
    "another task": (
        signature(task="regression", classes=None, probabilities=False),
        load_errors.SignatureMismatch,
        "classes",
    ),
    "an example that does not fit": (
        first_example(input={"sepal_length": 1}),
        load_errors.GoldenExampleFailed,
        "/instances/0/",
    ),
    "an example with another prediction": (
        first_example(output={"label": "virginica"}),
        load_errors.GoldenExampleMismatch,
        "golden example 0",
    ),
    "an estimator that raises": (
        pack_object(
            fit_iris(RadiusNeighborsClassifier(radius=1e-9, algorithm="brute")),
            trusted_types=[],
        ),
        load_errors.GoldenExampleFailed,
        "golden example 0 (ValueError: No neighbors",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links and names of errors are POSIX's")
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_has_its_own_error_in_one_line_with_code_3(
    name: str, model: Path, failing_check: Callable[[Path], str]
) -> None:
    corrupt, kind, text = CORRUPTIONS[name]
    corrupt(model)
    error = load_error(model)
    assert type(error) is kind, error
    assert text in str(error)
    assert str(error).endswith(f". {error.remedy}")
    assert failing_check(model) == f"error: {error}"


def test_every_load_error_has_a_corruption() -> None:
    tested = {kind for _, kind, _ in CORRUPTIONS.values()} | {load_errors.LoadError}
    tested |= test_python_runtime.LOAD_ERRORS
    kinds = {kind for kind in vars(load_errors).values() if isinstance(kind, type)}
    assert {kind for kind in kinds if issubclass(kind, load_errors.LoadError)} == tested


# --- reading ---


def test_every_flipped_bit_is_a_checksum_mismatch(model: Path) -> None:
    data = artifact(model).read_bytes()
    for place in random.Random(0).sample(range(len(data)), 20):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        artifact(model).write_bytes(flipped)
        assert type(load_error(model)) is load_errors.ChecksumMismatch


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_read_error_makes_the_artifact_unreadable(model: Path) -> None:
    link_artifact("/proc/self/mem")(model)
    error = load_error(model)
    assert type(error) is load_errors.ArtifactUnreadable
    assert "Input/output error" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not sparse there")
def test_a_file_is_read_up_to_its_recorded_size_only(model: Path) -> None:
    os.truncate(artifact(model), 2**40)
    assert type(load_error(model)) is load_errors.SizeMismatch


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("manifest.json", load_errors.ManifestUnreadable),
        ("model.skops", load_errors.ArtifactUnreadable),
    ],
)
def test_a_file_without_read_permission_is_unreadable(
    name: str, kind: type[ModelError], model: Path
) -> None:
    for folder in (model, *model.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in model.iterdir():
        path.chmod(0 if path.name == name else 0o644)
    with AnotherUser():
        error = load_error(model)
    assert type(error) is kind
    assert "Permission denied" in str(error)


class AnotherUser:
    """Run a block as another user than root, who may read every file."""

    def __enter__(self) -> None:
        self.root = os.geteuid() == 0
        if self.root:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self.root:
            os.seteuid(0)


def test_an_artifact_larger_than_memory_is_too_large(model: Path) -> None:
    record(size=2**62)(model)
    error = load_error(model, max_bytes=2**63)
    assert type(error) is load_errors.ArtifactTooLarge
    assert "memory" in str(error)


def test_the_artifact_is_read_once_and_the_same_bytes_are_parsed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as it was read, another file is in its place."""

    def open_and_replace(path: Path) -> io.BytesIO:
        data = path.read_bytes()
        path.write_bytes(b"another file")
        return io.BytesIO(data)

    monkeypatch.setattr(read_artifact, "open_regular", open_and_replace)
    assert load_directory(model, MAX).predict([[5.1, 3.5, 1.4, 0.2]]).values.tolist() == [0]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.fixture
def in_time() -> Iterator[None]:
    """End a test that hangs."""

    def late(*_: object) -> None:
        pytest.fail("timeout")  # an OSError would count as a file that cannot be read

    before = signals.signal(signals.SIGALRM, late)
    signals.alarm(30)
    yield
    signals.alarm(0)
    signals.signal(signals.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("make", [make_pipe, make_socket, link_to_device])
@pytest.mark.parametrize("name", ["manifest.json", "model.skops"])
def test_a_file_that_is_none_is_rejected_at_once(
    model: Path, make: Callable[[Path], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody writes to must not hold up a load."""
    monkeypatch.chdir(model)  # the path of a socket is short
    Path(name).unlink()
    make(Path(name))
    error = load_error(model)
    assert type(error) in {load_errors.ManifestUnreadable, load_errors.ArtifactUnreadable}
    assert name in str(error)


@pytest.mark.parametrize("corrupt", [record(sha256="0" * 64), record(size=100)])
def test_no_parser_is_called_before_the_checksum_is_verified(
    corrupt: Corruption, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parser(*_: object, **__: object) -> None:
        raise AssertionError("a parser was called")

    monkeypatch.setattr(zipfile, "ZipFile", parser)
    monkeypatch.setattr(skops.io, "loads", parser)
    monkeypatch.setattr(skops.io, "get_untrusted_types", parser)
    assert "a parser was called" in str(load_error(model)), "the test proves nothing"
    corrupt(model)
    assert type(load_error(model)) in {load_errors.ChecksumMismatch, load_errors.SizeMismatch}


def test_an_early_error_does_not_wait_for_the_import_of_scikit_learn(model: Path) -> None:
    record(sha256="0" * 64)(model)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from serving_engine.runtimes.load import load_directory\n"
        "try: load_directory(Path(sys.argv[1]), 2**30)\n"
        "except Exception as error: print(type(error).__name__, 'sklearn' in sys.modules)\n"
    )
    assert run_python(script, model) == ("ChecksumMismatch False\n", "")


def test_a_system_library_that_is_missing_is_named_with_its_package(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(loading, "loads", fail)
    text = str(load_error(model))
    assert "cannot be parsed (OSError: libgomp.so.1: " in text
    assert "LightGBM needs libgomp1 (`apt-get install libgomp1`)" in text


# --- links ---


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_model_mounted_by_kubernetes_loads(model: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "..2026_01_31").mkdir(parents=True)
    for path in model.iterdir():
        path.rename(volume / "..2026_01_31" / path.name)
        (volume / path.name).symlink_to(f"..data/{path.name}")
    (volume / "..data").symlink_to("..2026_01_31")
    (tmp_path / "mounted").symlink_to("volume")
    assert load_directory(tmp_path / "mounted", MAX).manifest.name == "test"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_out_of_the_directory_is_followed_and_verified(model: Path, tmp_path: Path) -> None:
    """Model caches link every file to a store."""
    store = artifact(model).rename(tmp_path / "blob")
    artifact(model).symlink_to(store)
    assert load_directory(model, MAX).manifest.name == "test"
    store.write_bytes(store.read_bytes()[::-1])
    assert type(load_error(model)) is load_errors.ChecksumMismatch


def test_a_path_with_line_breaks_gives_an_error_in_one_line(
    tmp_path: Path, failing_check: Callable[[Path], str]
) -> None:
    assert "a\\nb\\x1b[31m" in failing_check(tmp_path / "a\nb\x1b[31m")


def test_a_type_name_with_line_breaks_gives_an_error_in_one_line(model: Path) -> None:
    edit_schema(lambda schema: schema.update(__class__="a\nb\u2028c"))(model)
    error = load_error(model)
    assert type(error) is load_errors.UntrustedTypes
    record(trusted_types=["os\nsystem"])(model)
    assert "os\\nsystem" in str(load_error(model))


# --- releases ---


@pytest.mark.parametrize("in_manifest", [True, False])
def test_another_patch_release_is_one_log_line(
    in_manifest: bool, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    major, minor, *_ = version("scikit-learn").split(".")
    other = f"{major}.{minor}.99"
    fitted_with(other)(model)
    if in_manifest:
        manifest(built_with={"scikit-learn": other})(model)
    assert load_directory(model, MAX).predict([[5.1, 3.5, 1.4, 0.2]]).values.tolist() == [0]
    lines = [item.getMessage() for item in caplog.records if item.levelno >= logging.INFO]
    assert len(lines) == (1 if in_manifest else 0)
    assert all(other in line for line in lines)


def test_loading_limits_blas_and_openmp_to_one_thread(good: Path) -> None:
    with threadpool_limits(limits=4):
        load_directory(good, MAX)
        assert {library["num_threads"] for library in threadpool_info()} == {1}


# --- never a pickle ---


@pytest.mark.parametrize("name", ["model.skops", "model.pkl", "model.joblib", "model"])
@pytest.mark.parametrize("compress", [0, 3])
def test_a_pickle_of_any_name_is_an_invalid_archive(
    name: str, compress: int, model: Path, tmp_path: Path
) -> None:
    file = io.BytesIO()
    joblib.dump(Bomb(tmp_path / "unpickled"), file, compress=compress)
    replace_artifact(file.getvalue(), file=name)(model)
    error = load_error(model)
    assert type(error) is load_errors.InvalidArchive
    assert compress or "pickle" in str(error)
    assert not (tmp_path / "unpickled").exists()


def test_a_pickle_before_or_in_the_archive_is_not_unpickled(model: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    joblib.dump(Bomb(tmp_path / "unpickled"), file)
    data = artifact(model).read_bytes()
    replace_artifact(file.getvalue() + data)(model)
    assert load_directory(model, MAX)
    members = unpack(data)
    array = next(member for member in members if member.endswith(".npy"))
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(tmp_path / "unpickled")], dtype=object), allow_pickle=True)
    for inside in (file.getvalue(), objects.getvalue()):
        replace_artifact(archive(members | {array: inside}))(model)
        assert type(load_error(model)) is load_errors.InvalidArtifact
    assert not (tmp_path / "unpickled").exists()


def test_loading_and_predicting_unpickles_nothing_and_prints_nothing(
    good: Path, tmp_path: Path
) -> None:
    """Python calls audit hooks for every global that an unpickler looks up, in C or in Python."""
    rows = np.random.default_rng(0).normal(size=(20, 2))
    radius = package_estimator(
        RadiusNeighborsRegressor(algorithm="brute").fit(rows, rows[:, 0]),
        ["a", "b"],
        rows,
        tmp_path / "radius",
    )
    script = """
import sys
from serving_engine.blas_threads import limit_threads_of_imports
limit_threads_of_imports()
import pickle, _pickle, joblib
from pathlib import Path
import skops.io, sklearn.neighbors  # these imports may unpickle
from serving_engine.runtimes.load import load_directory

def fail(*_, **__):
    raise SystemExit("an unpickler was called")

def watch(event, arguments):
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "socket.connect"):
        raise SystemExit(event)

for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = fail
joblib.load = fail
sys.addaudithook(watch)
model = load_directory(Path(sys.argv[1]), 2**30)
print(model.predict([[5.1, 3.5, 1.4, 0.2]]).values)
radius = load_directory(Path(sys.argv[2]), 2**30)
print(radius.predict([[1e6, 1e6]]).values)
"""
    assert run_script(script, good, radius) == "[0]\n[nan]\n"


OWNERS_MODULES = {"f'{self.package}.{module}'", "transformers"}
"""Expressions of module names that the owner sets."""
CHECKED_MODULES = {("trusted_types.py", "module"), ("predictor.py", "module")}
"""Names that are checked before, of modules of scikit-learn or the owner's; and that of the owner's
class."""


def test_no_module_imports_an_unpickler_at_run_time() -> None:
    """`test_imports.py` checks import statements; this test checks all other ways to import."""
    names = ("pickle", "joblib", "dill", "marshal", "shelve")
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "build_model"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle" or ast.unparse(node.value) == "False", path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called not in {"eval", "exec", "compile"} or "re." in ast.unparse(node.func), (
                path
            )
            if called in {"__import__", "import_module"}:
                (name, *_) = node.args
                expression = ast.unparse(name)
                if expression in OWNERS_MODULES or (path.name, expression) in CHECKED_MODULES:
                    continue
                if isinstance(name, ast.JoinedStr):  # a relative import of a module of the engine
                    name = name.values[0]
                    assert isinstance(name, ast.Constant), path
                    assert str(name.value).startswith("."), path
                assert isinstance(name, ast.Constant), path
                assert not str(name.value).startswith(names), path
            if ast.unparse(node.func) in {"np.load", "numpy.load"}:
                raise AssertionError(path)


def run_python(script: str, *arguments: object) -> tuple[str, str]:
    """Run a script in a new process; return its standard output and standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout, ended.stderr


# --- hostile artifacts ---


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for child in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        yield from nodes(child)


ODD_VALUES = [None, True, -1, 2**70, 1e308, "", [], "x" * 5000, [[]], "NaN", "[" * 3000, "9" * 5000]


def mutant(data: bytes, dice: random.Random) -> bytes:
    """The artifact with one random error: in its bytes, in a member or in the schema."""
    level = dice.choice(["bytes", "cut", "member", "lost", "schema", "schema", "schema"])
    if level == "bytes":
        place = dice.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
    if level == "cut":
        return data[: dice.randrange(len(data))]
    members = unpack(data)
    name = dice.choice(list(members))
    if level == "member":
        changed = bytearray(members[name])
        changed[dice.randrange(min(len(changed), 200))] = dice.randrange(256)
        members[name] = bytes(changed)
    elif level == "lost":
        members[name] = members[name][: dice.randrange(len(members[name]))]
    else:
        schema = json.loads(members["schema.json"])
        everything = list(nodes(schema))
        one, other = dice.sample(everything, 2)
        key = dice.choice(list(one) or ["content"])
        one[key] = copy.deepcopy(
            dice.choice([*ODD_VALUES, other, other.get(key), other.get("__loader__")])
        )
        members["schema.json"] = json.dumps(schema).encode()
    return archive(members, dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def reproducible(path: Path) -> bytes:
    """An artifact without the values that differ from run to run: times and ids of objects."""
    members = unpack(path.read_bytes())
    schema = members["schema.json"].decode()
    ids = dict.fromkeys(re.findall(r"\d{9,}", schema))
    names = {old: f"1{number:03}" for number, old in enumerate(ids)}
    members["schema.json"] = re.sub(r"\d{9,}", lambda match: names[match[0]], schema).encode()
    return archive(
        {
            re.sub(r"\d{9,}", lambda match: names[match[0]], name): data
            for name, data in members.items()
        }
    )


def test_a_mutated_artifact_raises_a_load_error_or_passes_all_checks(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = reproducible(artifact(model))
    dice = random.Random(20260131)
    outcomes: set[type] = set()
    manifest(examples=read(model)["examples"][::4])(model)
    started = time.monotonic()
    for _ in range(200):
        replace_artifact(mutant(data, dice) or b"\0")(model)
        try:
            load_directory(model, MAX)  # checks the golden examples
        except load_errors.LoadError as error:
            outcomes.add(type(error))
        else:
            outcomes.add(type(None))
    assert time.monotonic() - started < 60
    assert {type(None), load_errors.InvalidArchive, load_errors.InvalidArtifact} <= outcomes
    assert capfd.readouterr() == ("", "")


def test_an_encrypted_archive_is_invalid(model: Path) -> None:
    data = archive({"schema.json": b"{}"})
    flagged = data.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
        b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
    )
    assert flagged != data
    replace_artifact(flagged)(model)
    assert type(load_error(model)) is load_errors.InvalidArchive


def test_an_archive_with_too_many_members_is_invalid(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_check, "MAX_MEMBERS", 3)
    assert "more than 3 members" in str(load_error(model))


@pytest.mark.parametrize("summed", [100_000, 100_001])
def test_a_zip_bomb_is_detected_in_little_memory(summed: int) -> None:
    data = false_size(real=20_000_000, stated=100_000, summed=summed)
    tracemalloc.start()
    try:
        with pytest.raises(load_errors.InvalidArchive):
            zip_check.check_zip(data, MAX)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_compressed_artifact_loads(model: Path) -> None:
    members = unpack(artifact(model).read_bytes())
    replace_artifact(archive(members, zipfile.ZIP_DEFLATED))(model)
    assert load_directory(model, MAX)
