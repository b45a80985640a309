"""Every combination of answers is clean, typed, tested and served as it comes out."""

import http.client
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import OWNER_CHECKS, Render, Run, passed, source_of
from .rendering import COMBINATIONS
from .services import OK, PATIENCE, Service
from .test_layout import assert_clean, expected, files

pytestmark = pytest.mark.slow

NOT_FOUND = 404

SPEAKS = {
    "/v2/health/ready": ["open-inference", "all"],
    "/ping": ["all"],
}
"""Paths that are there to be asked, and for which protocols."""


@pytest.fixture(scope="module", params=COMBINATIONS, ids=lambda answers: "-".join(answers.values()))
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    """A combination. All tests of one run before those of the next."""
    return request.param


@pytest.fixture(scope="module")
def combination(answers: dict[str, str], generate: Render) -> Path:
    """Its project, made by the command."""
    return generate(**answers)


@pytest.fixture(scope="module")
def typed_engines() -> set[str]:
    """The checksums of the engines that mypy has seen: most combinations have one of few."""
    return set()


def test_its_files_are_the_expected_ones_and_clean(
    answers: dict[str, str], combination: Path
) -> None:
    assert files(combination) == expected(answers)
    assert_clean(combination)


def test_it_passes_the_checks_of_its_readme(
    combination: Path,
    run_in: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # What mypy finds out about a file holds for the same file of the next project.
    monkeypatch.setenv("MYPY_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "mypy"))
    for check in OWNER_CHECKS:
        passed(run_in(combination, *check.split()))


def test_its_engine_is_formatted_linted_and_typed(
    combination: Path, run_in: Run, typed_engines: set[str]
) -> None:
    passed(run_in(combination, "ruff", "format", "--check", folder="engine"))
    passed(run_in(combination, "ruff", "check", folder="engine"))
    engine = (combination / "engine" / "SHA256SUMS").read_text(encoding="utf-8")
    if engine not in typed_engines:
        passed(run_in(combination, "mypy", folder="engine"))
        typed_engines.add(engine)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX; the demo starts a service")
def test_it_starts_predicts_and_ends(
    answers: dict[str, str], combination: Path, environment: Path
) -> None:
    model = combination / "model"
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    example = manifest["examples"][0]
    source = {"PYTHONPATH": source_of(combination)}
    with Service(environment, model, variables_besides=source) as service:
        status, answer = post(service, "/predict", {"instances": [example["input"]]})
        assert status == OK, answer
        assert answer["predictions"][0]["label"] == example["output"]["label"]
        for path, protocols in SPEAKS.items():
            there = OK if answers["protocols"] in protocols else NOT_FOUND
            assert service.get(path)[0] == there, path
        service.process.send_signal(signal.SIGINT)
        assert service.ended() == 0


def post(service: Service, path: str, body: object) -> tuple[int, Any]:
    """Status and parsed body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    parsed = json.loads(answer.read())
    connection.close()
    return answer.status, parsed
