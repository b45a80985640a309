"""Another model in place of the one that is served, while requests come in."""

import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.errors import NarrowerSignature
from {{ cookiecutter.__package_name }}.schema.compatibility import check_accepts_as_much
from {{ cookiecutter.__package_name }}.schema.signature import Column, Signature

from . import spoiled
from .models import example_row
from .service import Service, wait_until


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_reload_fails_no_request_and_a_bad_model_replaces_nothing(
    model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    own, other = tmp_path / "model", tmp_path / "other"
    shutil.copytree(model_dir, own)
    shutil.copytree(model_dir, other)
    spoiled.manifest(version="2nd")(other)
    with Service(own, "--watch", drain_delay=0) as service:
        stop, seen = threading.Event(), []

        def client() -> None:
            while not stop.is_set():
                answer = service.predict([example_row(manifest)])
                seen.append((answer.status_code, answer.json().get("model", {}).get("version")))

        thread = threading.Thread(target=client)
        thread.start()
        (other / "manifest.json").replace(own / "manifest.json")
        assert "2nd replaces" in service.wait_for_line("reloaded: ")
        wait_until(lambda: seen[-1] == (200, "2nd"))
        stop.set()
        thread.join()
        assert [version for _, version in seen] == sorted(
            (version for _, version in seen), key=lambda version: version == "2nd"
        )
        assert {status for status, _ in seen} == {200}
        narrower = spoiled.read(own)["signature"]
        narrower["inputs"][0]["enforce"] = True
        spoiled.manifest(signature=narrower, version="3rd")(own)
        service.process.send_signal(signal.SIGHUP)
        assert "could be less than" in service.wait_for_line("2nd stays: ")
        description = service.get("/openapi.json").json()["components"]["schemas"]
        spoiled.manifest(schema_version=99)(own)
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_line("schema_version 99")
        assert service.get("/openapi.json").json()["components"]["schemas"] == description
        assert service.predict([example_row(manifest)]).json()["model"]["version"] == "2nd"
        found = service.scrape()
        assert found["serving_reloads_total", "ok"] == 1
        assert found["serving_reloads_total", "failed"] >= 1
        assert found["serving_model_info", manifest.name, "2nd"] == 1
        assert ("serving_model_info", manifest.name, manifest.version) not in found
        assert service.stop() == 0


def signature(*columns: Column, task: str = "regression") -> Signature:
    classes = ["a", "b"] if task == "classification" else None
    return Signature.model_validate(
        {"layout": "frame", "inputs": list(columns), "task": task, "classes": classes}
    )


def colors(*names: str, enforce: bool = True) -> Column:
    return Column(name="c", dtype="string", categories=list(names), enforce=enforce)


OLD = signature(
    Column(name="a", dtype="int64"),
    Column(name="b", nullable=True, minimum=0, maximum=9, enforce=True),
    colors("red", "green"),
)
A, B, C = OLD.inputs


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([A, B], "'c' would be unknown"),
        ([A, B, C, Column(name="d")], "'d' would be needed"),
        ([B, A, C], "column 0 was 'a' and would be 'b'"),
        ([Column(name="a", dtype="string"), B, C], "'a' was int64 and would be string"),
        ([A, Column(name="b"), C], "'b' could be null"),
        ([Column(name="a", minimum=1, enforce=True), B, C], "'a' could be less than 1"),
        (
            [A, Column(name="b", nullable=True, maximum=8, enforce=True), C],
            "'b' could be more than 8",
        ),
        ([A, B, colors("red", "blue")], "'c' could be 'green'"),
    ],
)
def test_a_signature_that_takes_less_is_refused_and_named(columns: list[Column], said: str) -> None:
    with pytest.raises(NarrowerSignature, match=said):
        check_accepts_as_much(OLD, signature(*columns))


def test_categories_that_were_not_enforced_may_not_become_so() -> None:
    with pytest.raises(NarrowerSignature, match="'c' could be what is none of its categories"):
        check_accepts_as_much(signature(colors("red", enforce=False)), signature(colors("red")))


def test_another_task_is_refused() -> None:
    with pytest.raises(NarrowerSignature, match="for classification, the old one for regression"):
        check_accepts_as_much(OLD, signature(*OLD.inputs, task="classification"))


def test_a_signature_that_takes_more_is_accepted() -> None:
    wider = [
        Column(name="a", nullable=True),
        Column(name="b", nullable=True, minimum=3),
        colors("red", "green", "blue"),
    ]
    check_accepts_as_much(OLD, signature(*wider))
    check_accepts_as_much(OLD, signature(A, B, colors("red", enforce=False)))
    check_accepts_as_much(OLD, OLD)
