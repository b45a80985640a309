"""The engine is tested with models of its own, whatever the service's model is."""

from pathlib import Path

import pytest

from {{ cookiecutter.__package_name }}.artifact.load import LoadedModel, load_model

from .models import package_iris


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_iris(tmp_path_factory.mktemp("own") / "model")


@pytest.fixture(scope="session")
def loaded(model_dir: Path) -> LoadedModel:
    return load_model(model_dir, max_bytes=2**31)
