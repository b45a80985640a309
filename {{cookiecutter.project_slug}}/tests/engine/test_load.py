"""Every way in which a model directory can be wrong: one error each, in one line, and no harm."""

import ast
import copy
import io
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info, threadpool_limits

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }} import cli, transformers
from {{ cookiecutter.__package_name }}.artifact import container, refusals
from {{ cookiecutter.__package_name }}.artifact.load import load_model
from {{ cookiecutter.__package_name }}.artifact.runtimes import scikit_learn
from {{ cookiecutter.__package_name }}.errors import ModelError

from .models import package_estimator, package_iris
from .service import environment, run_script
from .spoiled import (
    Spoil,
    archive,
    artifact,
    built_with,
    edited,
    first_example,
    fitted_by,
    holding,
    linked,
    lying,
    manifest,
    read,
    record,
    replaced,
    signature,
    unpacked,
    without_a_column,
    write,
)

MAX = 2**24
SOURCE = Path(package.__file__).parent


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_iris(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def model(good: Path, tmp_path: Path) -> Path:
    """A good model to spoil."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`check` in this process: it must end with code 3 and one line, which is returned."""

    def start(directory: Path) -> str:
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(cli, "limit_threads_of_imports", lambda: None)
        monkeypatch.setenv("SERVING_MAX_MODEL_BYTES", str(MAX))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["check", "--model-dir", str(directory)])
        assert ended.value.code == 3
        out, err = capfd.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        return line

    return start


def refusal(directory: Path, max_bytes: int = MAX) -> refusals.Refusal:
    """What `load_model` raises; it must be one printable line."""
    with pytest.raises(ModelError) as caught:
        load_model(directory, max_bytes)
    assert isinstance(caught.value, refusals.Refusal)
    assert str(caught.value).isprintable()
    return caught.value


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def iris_of(estimator: Any) -> Any:
    """A small classifier of the four columns and three labels of the good model."""
    rows = np.random.default_rng(0).normal(size=(30, 4))
    return estimator.fit(rows, np.array(["setosa", "versicolor", "virginica"] * 10))


def half_a_transformer() -> ColumnTransformer:
    """It knows the columns of the good model, and nothing else."""
    transformer = ColumnTransformer([])
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    transformer.feature_names_in_ = np.array(names, dtype=object)
    return transformer


ZEROS = bytes(2**20)
HTML = b"<!DOCTYPE html><title>Sign in</title>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 23894\n"

REFUSED: dict[str, tuple[Spoil, type[ModelError], str]] = {
    "no directory": (shutil.rmtree, refusals.DirectoryMissing, "model fetch URL"),
    "a file for a directory": (
        lambda model: (shutil.rmtree(model), model.touch()),
        refusals.DirectoryMissing,
        "no directory",
    ),
    "no manifest": (
        lambda model: (model / "manifest.json").unlink(),
        refusals.ManifestMissing,
        "model package FILE",
    ),
    "a manifest that is a directory": (
        lambda model: ((model / "manifest.json").unlink(), (model / "manifest.json").mkdir()),
        refusals.ManifestUnreadable,
        "cannot read",
    ),
    "a manifest of tomorrow": (
        lambda model: write(model, {"schema_version": 2}),
        refusals.ManifestNewer,
        "Upgrade the service",
    ),
    "a manifest that is none": (
        lambda model: write(model, {"schema_version": 1}),
        refusals.ManifestInvalid,
        "name: ",
    ),
    "no artifact": (
        lambda model: artifact(model).unlink(),
        refusals.ArtifactMissing,
        "model.skops",
    ),
    "a link to nothing": (linked("nowhere"), refusals.ArtifactMissing, "model fetch URL"),
    "a link to itself": (linked("model.skops"), refusals.ArtifactUnreadable, "symbolic links"),
    "an artifact that is a directory": (
        lambda model: (artifact(model).unlink(), artifact(model).mkdir()),
        refusals.ArtifactUnreadable,
        "Is a directory",
    ),
    "nothing": (
        lambda model: artifact(model).write_bytes(b""),
        refusals.WrongSize,
        "and has none",
    ),
    "a web page": (
        lambda model: artifact(model).write_bytes(HTML),
        refusals.WrongSize,
        "web page",
    ),
    "a web page that is vouched for": (replaced(HTML), refusals.BadContainer, "web page"),
    "a Git LFS pointer": (
        lambda model: artifact(model).write_bytes(LFS),
        refusals.WrongSize,
        "git lfs pull",
    ),
    "a truncated file": (
        lambda model: os.truncate(artifact(model), 10_000),
        refusals.WrongSize,
        "has 10000",
    ),
    "a longer file": (
        lambda model: os.truncate(artifact(model), 100_000),
        refusals.WrongSize,
        "has more",
    ),
    "another hash": (record(sha256="0" * 64), refusals.WrongHash, "SHA-256"),
    "another size": (record(size=23), refusals.WrongSize, "should have 23"),
    "an absurd size": (record(size=10**15), refusals.ArtifactTooLarge, "SERVING_MAX_MODEL_BYTES"),
    "a bomb": (
        replaced(archive({"schema.json": ZEROS}, zipfile.ZIP_DEFLATED)),
        refusals.BadContainer,
        "over 100 times",
    ),
    "a bomb of many small parts": (
        replaced(archive({str(n): ZEROS + os.urandom(2**15) for n in range(17)}, 8)),
        refusals.ArtifactTooLarge,
        "expands to more",
    ),
    "a bomb that denies it": (
        replaced(lying(real=2**20, said=1000, summed=1000)),
        refusals.BadContainer,
        "Bad CRC",
    ),
    "a bomb that denies it and knows how it is found out": (
        replaced(lying(real=2**20, said=1000, summed=1001)),
        refusals.BadContainer,
        "another size",
    ),
    "a stored member that is cut off": (
        replaced(
            archive({"a": bytes(1000)}).replace(b"\xe8\x03\0\0\xe8\x03", b"\xe8\x03\0\0\xe7\x03")
        ),
        refusals.BadContainer,
        "another size",
    ),
    "a bomb in an archive in the archive": (
        replaced(archive({"a.npz": archive({str(n): ZEROS for n in range(17)}, 8)})),
        refusals.ArtifactTooLarge,
        "expands to more",
    ),
    "an odd compression": (
        replaced(archive({"a": b"a"}, zipfile.ZIP_BZIP2)),
        refusals.BadContainer,
        "deflate",
    ),
    "names that go up": (replaced(archive({"../x": b""})), refusals.BadContainer, "leaves"),
    "names that go up elsewhere": (
        replaced(archive({"a\\..\\x": b""})),
        refusals.BadContainer,
        "leaves",
    ),
    "absolute names": (replaced(archive({"/etc/x": b""})), refusals.BadContainer, "leaves"),
    "names with drives": (replaced(archive({"C:x": b""})), refusals.BadContainer, "leaves"),
    "an archive of nothing": (replaced(archive({})), refusals.Unparsable, "schema.json"),
    "an archive of something else": (
        replaced(archive({"schema.json": b"[]"})),
        refusals.Unparsable,
        "AttributeError",
    ),
    "a later protocol": (
        edited(lambda schema: schema.update(protocol=999)),
        refusals.Unparsable,
        "update skops",
    ),
    "endless nesting": (
        replaced(archive({"schema.json": b"[" * 100_000})),
        refusals.Unparsable,
        "RecursionError",
    ),
    "another format": (record(format="onnx"), refusals.ManifestInvalid, "artifact.format"),
    "a pickle by name": (record(format="pickle"), refusals.ManifestInvalid, "artifact.format"),
    "types that nobody trusts": (
        holding([iris_of(LogisticRegression()), os.getcwd]),
        refusals.UntrustedTypes,
        "posix.getcwd" if os.name == "posix" else "nt.getcwd",
    ),
    "types that the manifest does not trust": (
        holding(iris_of(DecisionTreeClassifier())),
        refusals.UntrustedTypes,
        "sklearn.tree._tree.Tree",
    ),
    "types that only the manifest trusts": (
        holding(os.getcwd, trusted_types=["posix.getcwd"]),
        refusals.UntrustedTypes,
        "REVIEWED",
    ),
    "what transformers.py has not": (
        record(trusted_types=[f"{transformers.__name__}.Nothing"]),
        refusals.UntrustedTypes,
        "transformers.py defines",
    ),
    "an earlier scikit-learn": (
        manifest(built_with={"scikit-learn": "1.8.0"}),
        refusals.OtherRelease,
        "uv add 'scikit-learn~=1.8.0'",
    ),
    "a later scikit-learn": (
        manifest(built_with={"scikit-learn": "9.10.1"}),
        refusals.OtherRelease,
        scikit_learn.version("scikit-learn"),
    ),
    "no scikit-learn": (manifest(built_with={}), refusals.OtherRelease, "no scikit-learn"),
    "an earlier scikit-learn that is not admitted": (
        fitted_by("1.8.0"),
        refusals.OtherRelease,
        "1.8.0",
    ),
    "a later scikit-learn that is not admitted": (
        fitted_by("9.10.1"),
        refusals.OtherRelease,
        "9.10.1",
    ),
    "a release that is a number": (
        edited(
            lambda schema: [
                node.update(content="1.5")
                for node in nodes(schema)
                if node.get("content") == json.dumps(scikit_learn.version("scikit-learn"))
            ]
        ),
        refusals.OtherRelease,
        "scikit-learn 1.5, and",
    ),
    "an estimator that is not whole": (
        holding(make_pipeline(half_a_transformer(), iris_of(LogisticRegression()))),
        refusals.WrongShape,
        "not a sound estimator",
    ),
    "no estimator": (holding(["a"]), refusals.WrongShape, "no predict"),
    "a transformer": (holding(StandardScaler()), refusals.WrongShape, "no predict"),
    "a classifier without probabilities": (
        holding(iris_of(SVC())),
        refusals.WrongShape,
        "no predict_proba",
    ),
    "an estimator that is not fitted": (
        holding(LogisticRegression()),
        refusals.WrongShape,
        "classes",
    ),
    "a library that is missing": (
        built_with(no_such_library="4.7.0"),
        refusals.LibraryMissing,
        "uv add 'no_such_library~=4.7'",
    ),
    "fewer columns": (without_a_column, refusals.WrongShape, "takes 4 columns"),
    "other labels": (signature(classes=["a", "b", "c"]), refusals.WrongShape, "classes"),
    "fewer labels": (signature(classes=["setosa", "virginica"]), refusals.WrongShape, "classes"),
    "another task": (
        signature(task="regression", classes=None, probabilities=False),
        refusals.WrongShape,
        "classes",
    ),
    "an example that does not fit": (
        first_example(input={"sepal_length": 1}),
        refusals.ExampleFails,
        "/instances/0/",
    ),
    "an example with another answer": (
        first_example(output={"label": "virginica"}),
        refusals.ExampleDiffers,
        "golden example 0",
    ),
    "an estimator that raises": (
        holding(
            iris_of(RadiusNeighborsClassifier(radius=1e-9, algorithm="brute")),
            trusted_types=[],
        ),
        refusals.ExampleFails,
        "golden example 0 (ValueError: No neighbors",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links and names of errors are POSIX's")
@pytest.mark.parametrize("name", REFUSED)
def test_a_model_is_refused_for_a_reason_of_its_own_in_one_line_with_code_3(
    name: str, model: Path, start: Callable[[Path], str]
) -> None:
    spoil, kind, text = REFUSED[name]
    spoil(model)
    error = refusal(model)
    assert type(error) is kind, error
    assert text in str(error)
    assert str(error).endswith(f". {error.remedy}")
    assert start(model) == f"error: {error}"


def test_every_reason_is_tried() -> None:
    tried = {kind for _, kind, _ in REFUSED.values()} | {refusals.Refusal}
    kinds = {kind for kind in vars(refusals).values() if isinstance(kind, type)}
    assert {kind for kind in kinds if issubclass(kind, refusals.Refusal)} == tried


# --- reading ---


def test_every_flipped_bit_is_noticed(model: Path) -> None:
    data = artifact(model).read_bytes()
    for place in random.Random(0).sample(range(len(data)), 20):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        artifact(model).write_bytes(flipped)
        assert type(refusal(model)) is refusals.WrongHash


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_fails_while_it_is_read_is_refused(model: Path) -> None:
    linked("/proc/self/mem")(model)
    error = refusal(model)
    assert type(error) is refusals.ArtifactUnreadable
    assert "Input/output error" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not sparse there")
def test_a_file_is_read_no_further_than_its_size(model: Path) -> None:
    os.truncate(artifact(model), 2**40)
    assert type(refusal(model)) is refusals.WrongSize


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("manifest.json", refusals.ManifestUnreadable),
        ("model.skops", refusals.ArtifactUnreadable),
    ],
)
def test_a_file_that_this_user_may_not_read_is_refused(
    name: str, kind: type[ModelError], model: Path
) -> None:
    for folder in (model, *model.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in model.iterdir():
        path.chmod(0 if path.name == name else 0o644)
    with somebody():
        error = refusal(model)
    assert type(error) is kind
    assert "Permission denied" in str(error)


class somebody:  # noqa: N801 - reads as a sentence
    """Root may read everything: be somebody else meanwhile."""

    def __enter__(self) -> None:
        self.root = os.geteuid() == 0
        if self.root:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self.root:
            os.seteuid(0)


def test_what_does_not_fit_into_memory_is_refused(model: Path) -> None:
    record(size=2**62)(model)
    error = refusal(model, max_bytes=2**63)
    assert type(error) is refusals.ArtifactTooLarge
    assert "memory" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in the file system")
def test_the_artifact_is_read_once_and_these_bytes_are_parsed(model: Path) -> None:
    data = artifact(model).read_bytes()
    artifact(model).unlink()
    os.mkfifo(artifact(model))
    threading.Thread(target=artifact(model).write_bytes, args=[data], daemon=True).start()
    assert load_model(model, MAX).predict([[5.1, 3.5, 1.4, 0.2]]).values.tolist() == [0]


@pytest.mark.parametrize("spoil", [record(sha256="0" * 64), record(size=100)])
def test_no_parser_sees_a_byte_before_the_hash_is_right(
    spoil: Spoil, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parser(*_: object, **__: object) -> None:
        raise AssertionError("a parser was called")

    monkeypatch.setattr(zipfile, "ZipFile", parser)
    monkeypatch.setattr(skops.io, "loads", parser)
    monkeypatch.setattr(skops.io, "get_untrusted_types", parser)
    assert "a parser was called" in str(refusal(model)), "the test would prove nothing"
    spoil(model)
    assert type(refusal(model)) in {refusals.WrongHash, refusals.WrongSize}


def test_what_fails_early_does_not_wait_for_scikit_learn(model: Path) -> None:
    record(sha256="0" * 64)(model)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        f"from {package.__name__}.artifact.load import load_model\n"
        "try: load_model(Path(sys.argv[1]), 2**30)\n"
        "except Exception as error: print(type(error).__name__, 'sklearn' in sys.modules)\n"
    )
    assert run_python(script, model) == ("WrongHash False\n", "")


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
    assert load_model(tmp_path / "mounted", MAX).manifest.name == "test"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_that_leaves_the_directory_counts_by_what_it_leads_to(
    model: Path, tmp_path: Path
) -> None:
    """Model caches link every file to a store; the hash says whether it is the right one."""
    store = artifact(model).rename(tmp_path / "blob")
    artifact(model).symlink_to(store)
    assert load_model(model, MAX).manifest.name == "test"
    store.write_bytes(store.read_bytes()[::-1])
    assert type(refusal(model)) is refusals.WrongHash


def test_a_path_that_holds_line_breaks_stays_on_one_line(
    tmp_path: Path, start: Callable[[Path], str]
) -> None:
    assert "a\\nb\\x1b[31m" in start(tmp_path / "a\nb\x1b[31m")


def test_a_type_whose_name_holds_line_breaks_stays_on_one_line(model: Path) -> None:
    edited(lambda schema: schema.update(__class__="a\nb\u2028c"))(model)
    error = refusal(model)
    assert type(error) is refusals.UntrustedTypes
    record(trusted_types=["os\nsystem"])(model)
    assert "os\\nsystem" in str(refusal(model))


# --- releases ---


@pytest.mark.parametrize("admitted", [True, False])
def test_another_patch_release_is_one_log_line(
    admitted: bool, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    major, minor, *_ = scikit_learn.version("scikit-learn").split(".")
    other = f"{major}.{minor}.99"
    fitted_by(other)(model)
    if admitted:
        manifest(built_with={"scikit-learn": other})(model)
    assert load_model(model, MAX).predict([[5.1, 3.5, 1.4, 0.2]]).values.tolist() == [0]
    lines = [item.getMessage() for item in caplog.records if item.levelno >= logging.INFO]
    assert len(lines) == (1 if admitted else 0)
    assert all(other in line for line in lines)


def test_a_loaded_model_leaves_blas_and_openmp_one_thread(good: Path) -> None:
    with threadpool_limits(limits=4):
        load_model(good, MAX)
        assert {library["num_threads"] for library in threadpool_info()} == {1}


# --- never a pickle ---


@pytest.mark.parametrize("name", ["model.skops", "model.pkl", "model.joblib", "model"])
@pytest.mark.parametrize("compress", [0, 3])
def test_a_pickle_is_refused_under_any_name(
    name: str, compress: int, model: Path, tmp_path: Path
) -> None:
    file = io.BytesIO()
    joblib.dump(Bomb(tmp_path / "exploded"), file, compress=compress)
    replaced(file.getvalue(), file=name)(model)
    error = refusal(model)
    assert type(error) is refusals.BadContainer
    assert compress or "pickle" in str(error)
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_before_or_inside_the_archive_is_not_run(model: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    joblib.dump(Bomb(tmp_path / "exploded"), file)
    data = artifact(model).read_bytes()
    replaced(file.getvalue() + data)(model)
    assert load_model(model, MAX)
    members = unpacked(data)
    array = next(member for member in members if member.endswith(".npy"))
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(tmp_path / "exploded")], dtype=object), allow_pickle=True)
    for inside in (file.getvalue(), objects.getvalue()):
        replaced(archive(members | {array: inside}))(model)
        assert type(refusal(model)) is refusals.Unparsable
    assert not (tmp_path / "exploded").exists()


def test_loading_and_predicting_unpickles_nothing_and_prints_nothing(
    good: Path, tmp_path: Path
) -> None:
    """Python tells its audit hooks of every global that any unpickler looks up, in C or not."""
    rows = np.random.default_rng(0).normal(size=(20, 2))
    far = package_estimator(
        RadiusNeighborsRegressor(algorithm="brute").fit(rows, rows[:, 0]),
        ["a", "b"],
        rows,
        tmp_path / "far",
    )
    script = f"""
import sys
from {package.__name__}.artifact.threads import limit_threads_of_imports
limit_threads_of_imports()
import pickle, _pickle, joblib
from pathlib import Path
import skops.io, sklearn.neighbors  # what is imported may unpickle as it likes
from {package.__name__}.artifact.load import load_model

def refuse(*_, **__):
    raise SystemExit("an unpickler was called")

def watch(event, arguments):
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "socket.connect"):
        raise SystemExit(event)

for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = refuse
joblib.load = refuse
sys.addaudithook(watch)
model = load_model(Path(sys.argv[1]), 2**30)
print(model.predict([[5.1, 3.5, 1.4, 0.2]]).values)
far = load_model(Path(sys.argv[2]), 2**30)
print(far.predict([[1e6, 1e6]]).values)
"""
    assert run_script(script, good, far) == "[0]\n[nan]\n"


def test_no_module_asks_for_an_unpickler_at_run_time() -> None:
    """`test_imports.py` looks at import statements; here are the other ways to get at one."""
    names = ("pickle", "joblib", "dill", "marshal", "shelve")
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "packaging"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called not in {"eval", "exec", "compile"} or "re." in ast.unparse(node.func), (
                path
            )
            if called in {"__import__", "import_module"}:
                (name, *_) = node.args
                if isinstance(name, ast.JoinedStr):  # a module of the package that follows
                    name = name.values[0]
                    assert isinstance(name, ast.Constant), path
                    assert str(name.value).startswith("."), path
                assert isinstance(name, ast.Constant), path
                assert not str(name.value).startswith(names), path
            if ast.unparse(node.func) in {"np.load", "numpy.load"}:
                raise AssertionError(path)


def run_python(script: str, *arguments: object) -> tuple[str, str]:
    """Run a script in a process of its own; return what it printed, and where."""
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


ODD = [None, True, -1, 2**70, 1e308, "", [], "x" * 5000, [[]], "NaN", "[" * 3000, "9" * 5000]


def mutant(data: bytes, dice: random.Random) -> bytes:
    """The artifact with something wrong, at the level of bytes, of members or of the schema."""
    level = dice.choice(["bytes", "cut", "member", "lost", "schema", "schema", "schema"])
    if level == "bytes":
        place = dice.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
    if level == "cut":
        return data[: dice.randrange(len(data))]
    members = unpacked(data)
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
            dice.choice([*ODD, other, other.get(key), other.get("__loader__")])
        )
        members["schema.json"] = json.dumps(schema).encode()
    return archive(members, dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def repeatable(path: Path) -> bytes:
    """An artifact without what differs from run to run: times, and objects' places in memory."""
    members = unpacked(path.read_bytes())
    schema = members["schema.json"].decode()
    places = dict.fromkeys(re.findall(r"\d{9,}", schema))
    names = {place: f"1{number:03}" for number, place in enumerate(places)}
    members["schema.json"] = re.sub(r"\d{9,}", lambda found: names[found[0]], schema).encode()
    return archive(
        {
            re.sub(r"\d{9,}", lambda found: names[found[0]], name): data
            for name, data in members.items()
        }
    )


def test_whatever_is_in_the_artifact_it_is_refused_or_right(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, dice, outcomes = repeatable(artifact(model)), random.Random(20260131), set()
    manifest(examples=read(model)["examples"][::4])(model)
    started = time.monotonic()
    for _ in range(200):
        replaced(mutant(data, dice) or b"\0")(model)
        try:
            load_model(model, MAX)  # checks the golden examples
        except refusals.Refusal as error:
            outcomes.add(type(error))
        else:
            outcomes.add(type(None))
    assert time.monotonic() - started < 60
    assert {type(None), refusals.BadContainer, refusals.Unparsable} <= outcomes
    assert capfd.readouterr() == ("", "")


def test_an_encrypted_archive_is_refused(model: Path) -> None:
    data = archive({"schema.json": b"{}"})
    flagged = data.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
        b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
    )
    assert flagged != data
    replaced(flagged)(model)
    assert type(refusal(model)) is refusals.BadContainer


def test_an_archive_of_too_many_members_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MAX_MEMBERS", 3)
    assert "too many" in str(refusal(model))


@pytest.mark.parametrize("summed", [100_000, 100_001])
def test_a_bomb_is_found_out_in_little_memory(summed: int) -> None:
    data = lying(real=20_000_000, said=100_000, summed=summed)
    tracemalloc.start()
    try:
        with pytest.raises(refusals.BadContainer):
            container.check_zip(data, MAX)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_compressed_artifact_loads(model: Path) -> None:
    members = unpacked(artifact(model).read_bytes())
    replaced(archive(members, zipfile.ZIP_DEFLATED))(model)
    assert load_model(model, MAX)
