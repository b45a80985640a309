"""Reload: another model replaces the one that is served, or is rejected."""

import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from serving_engine.errors import IncompatibleSignature
from serving_engine.model_files.manifest import Manifest
from serving_engine.schema.compatibility import check_accepts_as_much
from serving_engine.schema.signature import Column, Signature

from . import corruptions
from .models import example_row
from .service import Service, wait_until

SIGHUP = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


@pytest.fixture(scope="module")
def service(own_model: Path) -> Iterator[Service]:
    with Service(own_model, drain_delay=0) as service:
        yield service


@pytest.fixture
def model(own_model: Path, model_dir: Path) -> Path:
    """The model directory of the service, with the original manifest."""
    shutil.copy(model_dir / "manifest.json", own_model)
    return own_model


def reload(service: Service, expected_line: str) -> str:
    """Request a reload; return the log line of its result."""
    service.process.send_signal(signal.SIGHUP)
    return service.wait_for_line(expected_line)


def served_version(service: Service, manifest: Manifest) -> str:
    return str(service.predict([example_row(manifest)]).json()["model"]["version"])


@SIGHUP
def test_a_reload_replaces_the_model_and_is_counted(
    service: Service, model: Path, manifest: Manifest
) -> None:
    before = service.scrape()
    old = served_version(service, manifest)
    corruptions.manifest(version="replacement")(model)
    assert "replacement replaces" in reload(service, "reloaded: ")
    assert served_version(service, manifest) == "replacement"
    after = service.scrape()
    ok = ("serving_reloads_total", "ok")
    assert after[ok] == before.get(ok, 0) + 1
    assert after["serving_model_info", manifest.name, "replacement"] == 1
    assert ("serving_model_info", manifest.name, old) not in after


@SIGHUP
def test_a_reload_that_fails_replaces_nothing_and_is_counted(
    service: Service, model: Path, manifest: Manifest
) -> None:
    before = service.scrape()
    served = served_version(service, manifest)
    document = service.get("/openapi.json").json()
    corruptions.manifest(schema_version=99)(model)
    assert "schema_version 99" in reload(service, f"{served} stays: ")
    assert served_version(service, manifest) == served
    assert service.get("/openapi.json").json() == document
    failed = ("serving_reloads_total", "failed")
    assert service.scrape()[failed] == before.get(failed, 0) + 1


@SIGHUP
def test_a_model_that_accepts_less_replaces_nothing(
    service: Service, model: Path, manifest: Manifest
) -> None:
    served = served_version(service, manifest)
    narrower = corruptions.read(model)["signature"]
    narrower["inputs"][0]["enforce"] = True
    corruptions.manifest(signature=narrower, version="narrower")(model)
    assert "could be less than" in reload(service, f"{served} stays: ")
    assert served_version(service, manifest) == served


def test_with_watch_a_replaced_manifest_starts_a_reload_which_fails_no_request(
    model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    own_model = tmp_path / "model"
    other = tmp_path / "other"
    shutil.copytree(model_dir, own_model)
    shutil.copytree(model_dir, other)
    corruptions.manifest(version="2nd")(other)
    responses: list[httpx2.Response] = []
    stop = threading.Event()
    with Service(own_model, "--watch", drain_delay=0) as service:

        def client() -> None:
            while not stop.is_set():
                responses.append(service.predict([example_row(manifest)]))

        thread = threading.Thread(target=client)
        thread.start()
        (other / "manifest.json").replace(own_model / "manifest.json")
        assert "2nd replaces" in service.wait_for_line("reloaded: ")
        count = len(responses)
        wait_until(lambda: len(responses) > count + 1)
        stop.set()
        thread.join()
        assert service.stop() == 0
    assert {response.status_code for response in responses} == {200}
    versions = [response.json()["model"]["version"] for response in responses]
    old = versions.count(manifest.version)
    assert versions == [manifest.version] * old + ["2nd"] * (len(versions) - old)
    assert versions[-1] == "2nd"


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
    ("columns", "reason"),
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
def test_a_signature_that_accepts_less_is_rejected_with_the_reason(
    columns: list[Column], reason: str
) -> None:
    with pytest.raises(IncompatibleSignature, match=reason):
        check_accepts_as_much(OLD, signature(*columns))


def test_categories_must_not_become_enforced() -> None:
    with pytest.raises(IncompatibleSignature, match="'c' could be what is none of its categories"):
        check_accepts_as_much(signature(colors("red", enforce=False)), signature(colors("red")))


def test_another_task_is_rejected() -> None:
    with pytest.raises(
        IncompatibleSignature, match="for classification, the old one for regression"
    ):
        check_accepts_as_much(OLD, signature(*OLD.inputs, task="classification"))


def test_a_signature_that_accepts_more_is_accepted() -> None:
    wider = [
        Column(name="a", nullable=True),
        Column(name="b", nullable=True, minimum=3),
        colors("red", "green", "blue"),
    ]
    check_accepts_as_much(OLD, signature(*wider))
    check_accepts_as_much(OLD, signature(A, B, colors("red", enforce=False)))
    check_accepts_as_much(OLD, OLD)
