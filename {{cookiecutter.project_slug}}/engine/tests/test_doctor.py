"""The doctor: what it says of a project whose parts are as recorded, and of each that drifted."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving_engine.build_model import dependency_advice
from serving_engine.cli.doctor import checks
from serving_engine.cli.doctor.container import check_container, memory_limit, processor_limit
from serving_engine.cli.doctor.finding import Finding
from serving_engine.runtimes.load import LoadedModel
from serving_engine.settings import ServingSettings
from serving_engine.template_record import engine_files, read_checksums, read_record
from serving_engine.template_record import write_record as write_record_of_template

from .conftest import Result
from .example_service.app import create_app

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECORD = {
    "template": "https://git.example.org/serving.git",
    "version": "0.1.0",
    "commit": COMMIT,
    "answers": {"project_slug": "iris", "ci": "none"},
}
MIB = 2**20


@pytest.fixture
def project(tmp_path: Path, model_dir: Path) -> Path:
    """A project as the template has just made it."""
    shutil.copytree(model_dir, tmp_path / "model")
    source = tmp_path / "engine" / "src"
    source.mkdir(parents=True)
    for name in ("one.py", "two.py"):
        (source / name).write_text(f"# {name}\n", encoding="utf-8")
    sums = "".join(f"{sha256(source / name)}  src/{name}\n" for name in ("one.py", "two.py"))
    (tmp_path / "engine" / "SHA256SUMS").write_text(sums, encoding="utf-8")
    write_record(tmp_path)
    return tmp_path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_record(project: Path, **changes: object) -> None:
    (project / ".template.json").write_text(json.dumps({**RECORD, **changes}), encoding="utf-8")


@pytest.fixture
def doctor(
    project: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command, in the project's folder."""
    monkeypatch.chdir(project)
    return lambda *options: run("doctor", *options)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example service is no distribution: let it be one that requires two others."""
    monkeypatch.setattr(checks, "metadata", lambda _: {"Requires-Python": ">=3.11"}, raising=True)
    requirements = {
        "tests.example_service": ["serving-engine[extra]>=0.1.0"],
        "serving-engine": ["numpy>=2", 'pydantic>=2; extra == "extra"', 'absent; extra == "no"'],
    }
    monkeypatch.setattr(dependency_advice, "requires", requirements.__getitem__)
    releases = {"serving-engine": "0.1.0"}
    monkeypatch.setattr(
        dependency_advice, "version", lambda name: releases.get(name) or version(name)
    )


def lines_of(result: Result, subject: str) -> list[str]:
    """The lines about a subject, with what mends it."""
    found = re.findall(rf"^(\w+) +{subject} +(.*(?:\n +→.*)?)$", result.out, re.MULTILINE)
    return [f"{state} {text}" for state, text in found]


def test_a_new_project_has_no_drift(doctor: Callable[..., Result]) -> None:
    result = doctor()
    assert (result.code, result.err) == (0, "")
    assert "drift" not in result.out
    assert lines_of(result, "template")[0].startswith("ok 0.1.0 0123456789ab of https://git.")
    assert lines_of(result, "engine")[0].endswith("2 files as the template made them")
    assert lines_of(result, "dependencies") == ["ok 3 installed, all within their bounds"]


def test_a_file_of_the_engine_that_was_edited_deleted_or_added_is_named(
    project: Path, doctor: Callable[..., Result]
) -> None:
    (project / "engine/src/one.py").write_text("# mine\n", encoding="utf-8")
    (project / "engine/src/two.py").unlink()
    (project / "engine/src/three.py").touch()
    (project / "engine/src/__pycache__").mkdir()
    (project / "engine/src/__pycache__/one.pyc").touch()
    result = doctor()
    assert result.code == 1
    assert result.err == "error: 1 drifted. What mends it stands above, after →.\n"
    (line,) = lines_of(result, "engine")
    assert "1 edited: src/one.py; 1 missing: src/two.py; 1 added: src/three.py\n" in line
    assert line.endswith(f"→ {checks.RESTORE}")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"template": 1}', '"text"', json.dumps(RECORD) + " " * 300_000]
)
def test_a_record_that_is_broken_is_a_drift_and_serves_all_the_same(
    text: str, project: Path, doctor: Callable[..., Result], loaded: LoadedModel
) -> None:
    (project / ".template.json").write_text(text, encoding="utf-8")
    result = doctor()
    assert result.code == 1
    assert lines_of(result, "template")[0].endswith("→ git restore .template.json .cruft.json")
    with TestClient(create_app(model=loaded)) as client:
        assert "template" not in client.get("/model").json()["served_by"]


def test_without_a_record_nothing_is_compared_with_it(
    project: Path, doctor: Callable[..., Result]
) -> None:
    (project / ".template.json").unlink()
    (project / "engine/SHA256SUMS").unlink()
    result = doctor()
    assert result.code == 0
    assert lines_of(result, "template") == [
        "ok not recorded: there is no .template.json in this folder"
    ]


def test_an_engine_of_an_index_that_is_older_than_the_template_is_a_drift(
    project: Path, doctor: Callable[..., Result]
) -> None:
    shutil.rmtree(project / "engine")
    write_record(project, version="999.0.0")
    result = doctor()
    assert result.code == 1
    (line,) = lines_of(result, "engine")
    assert line.endswith("→ uv sync --upgrade-package serving-engine")


def test_a_model_whose_file_was_changed_is_a_drift(
    project: Path, doctor: Callable[..., Result]
) -> None:
    (artifact,) = set((project / "model").iterdir()) - {project / "model/manifest.json"}
    content = bytearray(artifact.read_bytes())
    content[-1] ^= 1
    artifact.write_bytes(content)
    result = doctor()
    assert result.code == 1
    assert "model fetch" in lines_of(result, "model")[0]


def test_a_release_out_of_its_bounds_is_a_drift(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = dependency_advice.version
    monkeypatch.setattr(
        dependency_advice, "version", lambda name: "1.0" if name == "numpy" else installed(name)
    )
    result = doctor()
    assert result.code == 1
    (line,) = lines_of(result, "dependencies")
    assert line.startswith("drift numpy 1.0 is installed, not numpy>=2\n")
    assert line.endswith("→ uv sync")


def test_a_python_that_the_project_does_not_support_is_a_drift(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "metadata", lambda _: {"Requires-Python": "<3"})
    assert lines_of(doctor(), "python")[0].startswith("drift 3.")


def test_an_invalid_setting_is_a_drift_and_the_other_checks_go_on(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_WORKERS", "many")
    result = doctor()
    assert result.code == 1
    assert lines_of(result, "settings") == [
        "drift SERVING_WORKERS is invalid: it must be a whole number."
    ]
    assert lines_of(result, "model")[0].startswith("ok ")


def test_settings_that_were_changed_are_named_without_their_values(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_API_KEYS", "secret-0123456789")
    result = doctor()
    assert "api_keys" in lines_of(result, "settings")[0]
    assert "secret" not in result.out


# Linking


def test_link_writes_what_cruft_needs_once(project: Path, doctor: Callable[..., Result]) -> None:
    assert "doctor --link" in lines_of(doctor(), "template")[0]
    assert doctor("--link").code == 0
    state = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))
    assert (state["template"], state["commit"]) == (RECORD["template"], COMMIT)
    assert state["context"]["cookiecutter"].items() >= RECORD["answers"].items()
    assert "doctor --link" not in doctor().out
    again = doctor("--link")
    assert (again.code, again.err) == (
        2,
        "error: .cruft.json is there: the project is linked already.\n",
    )


@pytest.mark.parametrize("commit", [None, f"{COMMIT}-dirty"])
def test_a_template_without_a_commit_is_not_linked(
    commit: str | None, project: Path, doctor: Callable[..., Result]
) -> None:
    write_record(project, commit=commit)
    result = doctor("--link")
    assert result.code == 2
    assert "names no commit that its repository has" in result.err
    assert not (project / ".cruft.json").exists()


@pytest.mark.parametrize("what", ["template", "commit", "answers"])
def test_a_link_that_says_something_else_than_the_record_is_a_drift(
    what: str, project: Path, doctor: Callable[..., Result]
) -> None:
    doctor("--link")
    write_record(project, **{what: {} if what == "answers" else "another"})
    result = doctor()
    assert result.code == 1
    assert f".cruft.json has another {what}\n" in lines_of(result, "template")[0]


# What a service says


def test_a_service_says_what_serves_its_model(
    project: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    with TestClient(create_app(model=loaded)) as client:
        assert client.get("/model").json()["served_by"]["template"] == "0.1.0 0123456789ab"


def test_check_says_it_too(
    project: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert ", template 0.1.0 0123456789ab\n" in run("check").out


# The container


def group(root: Path, own: str, files: dict[str, str]) -> Path:
    """A file system whose /proc/self/cgroup is `own`, with files of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": "268435456\n"}),
        (
            "0::/pod/box\n",
            {
                "cpu.max": "max 100000\n",
                "pod/cpu.max": "150000 100000\n",
                "pod/memory.max": "268435456\n",
                "pod/box/cpu.max": "400000 100000\n",
                "pod/box/memory.max": "max\n",
            },
        ),
        (
            "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
            {
                "cpu/box/cpu.cfs_quota_us": "150000\n",
                "cpu/box/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/box/memory.limit_in_bytes": "268435456\n",
            },
        ),
    ],
    ids=["container", "groups in groups", "first version"],
)
def test_the_limits_are_those_of_the_control_group(
    own: str, files: dict[str, str], tmp_path: Path
) -> None:
    root = group(tmp_path, own, files)
    assert processor_limit(root) == 1.5
    assert memory_limit(root) == 256 * MIB


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert processor_limit(tmp_path) is None
    assert memory_limit(tmp_path) is None
    root = group(tmp_path, "0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert processor_limit(root) is None
    assert memory_limit(root) is None


def test_more_workers_than_processors_and_a_model_too_large_are_drifts(tmp_path: Path) -> None:
    files = {"cpu.max": "200000 100000", "memory.max": str(1024 * MIB)}
    root = group(tmp_path, "0::/\n", files)

    def drifts(workers: int, model: int) -> list[Finding]:
        settings = ServingSettings(workers=workers)
        return [each for each in check_container(settings, model, root) if each.drifted]

    assert drifts(2, MIB) == []
    (finding,) = drifts(3, MIB)
    assert finding.text == "3 workers for 2 processors"
    assert finding.remedy == "SERVING_WORKERS=2, or a higher limit"
    (finding,) = drifts(1, 500 * MIB)
    assert finding.text == "limit 1024 MiB; it may need 1224 MiB"


# What the template's hook records


def test_the_record_has_no_password_and_no_private_value(project: Path) -> None:
    (project / "engine/pyproject.toml").write_text('version = "1.2.3"\n', encoding="utf-8")
    given = {"project_slug": "iris", "_model_url": "https://git.example.org/private"}
    given |= {"_template": "https://ann:secret@git.example.org/a.git", "_commit": COMMIT}
    written = write_record_of_template(project, given, project / "nowhere")
    assert written == read_record(project)
    assert asdict(written) == {
        "template": "https://git.example.org/a.git",
        "version": "1.2.3",
        "commit": COMMIT,
        "answers": {"project_slug": "iris"},
    }
    assert read_checksums(project / "engine") == engine_files(project / "engine")


def test_litter_is_no_file_of_the_engine(tmp_path: Path) -> None:
    for name in ("a.py", "a.pyc", "uv.lock", ".ruff_cache/x", "__pycache__/a.pyc", "x.rej"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(engine_files(tmp_path)) == ["a.py"]
