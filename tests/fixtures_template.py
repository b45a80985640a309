"""Fixtures over rendering.py. A test file names those it uses: `user = fixtures_template.user`."""

import json

import pytest

from .rendering import PROJECT, constant, copy_template, files, own_folders, put_sample


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The template as it is now, with a sample of a few bytes."""
    return copy_with_sample(tmp_path_factory)


@pytest.fixture(scope="session")
def small_template(tmp_path_factory):
    """The same with little but what the hook runs in its package: quick to render."""
    folder = copy_with_sample(tmp_path_factory)
    for path in files(folder / PROJECT):
        if path.endswith(".py") and path not in (constant("DOWNLOAD"), constant("RECORD")):
            (folder / PROJECT / path).unlink()
    return folder


def copy_with_sample(tmp_path_factory):
    folder = copy_template(tmp_path_factory.mktemp("template") / "cookiecutter-model-serving")
    put_sample(folder)
    return folder


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The folder that a user stands in, who has a home of their own and no proxy."""
    home, folder = tmp_path / "home", tmp_path / "user"
    home.mkdir()
    folder.mkdir()
    (home / "config.yaml").write_text(json.dumps(own_folders(tmp_path)), encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(home / "config.yaml"))
    monkeypatch.setenv("PWD", str(folder))
    monkeypatch.setenv("MODEL_DOWNLOAD", "auto")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(folder)
    return folder
