"""What every test may ask for. They adapt to the model in `model/`.

The service is imported where it is needed: the process that hands the tests out does not need it.
"""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .engine.children import OWNER

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from {{ cookiecutter.__package_name }}.artifact.load import LoadedModel
    from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
    from {{ cookiecutter.__package_name }}.settings import Settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background jobs like that, and they hand it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Name the process that the tests belong to, for those that it hands them out to as well."""
    if not hasattr(config, "workerinput"):  # which only they have
        os.environ[OWNER] = str(os.getpid())


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors, as some tests wait; not many, as each imports everything."""
    return min(6, (os.cpu_count() or 2) * 3 // 2)


def pytest_collection_finish() -> None:
    """Collections need not walk what was imported: they would take a tenth of a second each."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SERVING_") or name in {"PORT", "WEB_CONCURRENCY"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's model; where none was fetched yet, one that is fitted on the spot."""
    own = PROJECT / "model"
    if (own / "manifest.json").exists():
        return own
    from .engine.models import package_iris

    return package_iris(tmp_path_factory.mktemp("iris") / "model")


@pytest.fixture(scope="session")
def loaded(model_dir: Path) -> "LoadedModel":
    from {{ cookiecutter.__package_name }}.artifact.load import load_model

    return load_model(model_dir, max_bytes=2**31)


@pytest.fixture
def manifest(loaded: "LoadedModel") -> "Manifest":
    return loaded.manifest


@pytest.fixture
def settings(model_dir: Path) -> "Settings":
    from {{ cookiecutter.__package_name }}.settings import Settings

    return Settings(model_dir=model_dir)


@pytest.fixture
def app(settings: "Settings", loaded: "LoadedModel") -> "FastAPI":
    from {{ cookiecutter.__package_name }}.app import create_app

    return create_app(settings, loaded)


@pytest.fixture
def client(app: "FastAPI") -> Iterator["TestClient"]:
    """A client of the running application: the lifespan is entered."""
    from fastapi.testclient import TestClient

    with TestClient(app) as client:
        yield client
