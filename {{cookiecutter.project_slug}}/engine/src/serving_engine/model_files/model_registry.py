"""A model directory as a version of a registered model in MLflow: models:/NAME@ALIAS."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from .home import Push
from .manifest import MAX_MANIFEST_BYTES
from .read_artifact import CHUNK

FOLDER = "model"
"""The folder of a run's artifacts that holds the model directory."""

SHA256 = "manifest_sha256"
"""The tag of a version that says which manifest it has."""
VERSION = "manifest_version"


class Registry:
    """A registered model, or a version of it."""

    def __init__(self, url: str) -> None:
        """url: models:/NAME, models:/NAME@ALIAS or models:/NAME/VERSION.

        Raises ModuleNotFoundError if MLflow is not installed, and ValueError for another URL, and
        if no server is named: MLflow would make a database in the working directory.
        """
        self.mlflow: Any = import_module("mlflow")
        import_module("mlflow.artifacts")
        path = url.removeprefix("models:/")
        self.name, _, self.alias = path.partition("@")
        self.version = ""
        if not self.alias:
            self.name, _, self.version = path.partition("/")
        if not self.name or "/" in f"{self.name}{self.alias}{self.version}":
            raise ValueError("it is not models:/NAME@ALIAS or models:/NAME/VERSION")
        if not (os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("MLFLOW_REGISTRY_URI")):
            raise ValueError("MLFLOW_TRACKING_URI is not set")
        self.client = self.mlflow.MlflowClient()
        self._source = ""

    def read(self, name: str, size: int | None, scratch: Path) -> Iterator[bytes]:
        """The blocks of a file of the version; see `Home.read`."""
        if not self._source:  # once: an alias may be given to another version meanwhile
            self._source = self._find_source()
        folder, _, base = f"{self._source}/{name}".rpartition("/")
        for entry in self.mlflow.artifacts.list_artifacts(artifact_uri=folder):
            too_long = entry.file_size is not None and entry.file_size > (
                size or MAX_MANIFEST_BYTES
            )
            if entry.path.rpartition("/")[2] == base and too_long:
                raise ValueError(f"{name} is longer than expected")
        path = Path(
            self.mlflow.artifacts.download_artifacts(
                artifact_uri=f"{self._source}/{name}", dst_path=str(scratch)
            )
        )
        with path.open("rb") as file:
            yield from iter(lambda: file.read(CHUNK), b"")
        path.unlink()

    def push(self, push: Push) -> Iterator[str]:
        """Log the files to a run, then register them as a version; see `Home.push`."""
        if self.alias or self.version:
            raise ValueError("a push goes to models:/NAME; --alias ALIAS names its version")
        with suppress(self.mlflow.exceptions.MlflowException):  # it is there
            self.client.create_registered_model(self.name)
        sha256 = hashlib.sha256(push.content).hexdigest()
        version = None
        for one in self._versions():
            if one.tags.get(SHA256) == sha256 and not push.replace:
                version = one.version
            elif one.tags.get(VERSION) == push.manifest.version and not push.replace:
                raise FileExistsError(
                    f"its version {one.version} is another model of version {push.manifest.version}"
                )
        if version is None:
            version = self._register(push, sha256)
            yield f"registered version {version}"
        else:
            yield f"it is there already, as version {version}"
        if push.alias:
            self.client.set_registered_model_alias(self.name, push.alias, version)
            yield f"{push.alias} is version {version}"

    def _find_source(self) -> str:
        """The URI of the folder that holds the files of the version."""
        if self.alias:
            self.version = self.client.get_model_version_by_alias(self.name, self.alias).version
        if not self.version:
            raise ValueError("a version is missing: models:/NAME@ALIAS or models:/NAME/VERSION")
        uri: str = self.client.get_model_version_download_uri(self.name, self.version)
        return uri.rstrip("/")

    def _versions(self) -> Iterator[Any]:
        """The versions of the registered model, page by page."""
        token = None
        while True:
            page = self.client.search_model_versions(
                f"name = '{self.name}'", max_results=200, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _register(self, push: Push, sha256: str) -> str:
        """Upload the files and make a version of them, which nobody sees before it is whole."""
        experiment = self.client.get_experiment_by_name(self.name)
        number = (
            experiment.experiment_id if experiment else self.client.create_experiment(self.name)
        )
        run = self.client.create_run(number, run_name=f"push {push.manifest.version}")
        status = "FAILED"
        try:
            self.client.log_artifacts(run.info.run_id, str(push.folder), FOLDER)
            made = self.client.create_model_version(
                self.name,
                f"{run.info.artifact_uri}/{FOLDER}",
                run.info.run_id,
                tags={SHA256: sha256, VERSION: push.manifest.version},
                description=push.manifest.description,
            )
            status = "FINISHED"
        finally:
            self.client.set_terminated(run.info.run_id, status)
        return str(made.version)
