"""The scikit-learn runtime: estimators, XGBoost and LightGBM models from `.skops` files."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ...model_files.manifest import ArtifactRecord, Manifest
from ...model_files.read_artifact import read_only_file
from ...model_files.zip_check import check_zip
from ..base import OwnerCode, Predictor
from ..versions import check_libraries, check_release


class ScikitLearnRuntime:
    """See `runtimes.base.Runtime`."""

    name = "scikit-learn"
    formats = frozenset({"skops"})

    def read(self, directory: Path, artifact: ArtifactRecord, max_bytes: int) -> bytes:
        data = read_only_file(directory, artifact, max_bytes)
        check_zip(data, max_bytes)
        return data

    def check_environment(self, built_with: Mapping[str, str]) -> str | None:
        note = check_release(built_with.get("scikit-learn"))
        check_libraries(built_with)
        return note

    def import_libraries(self, code: OwnerCode) -> None:  # noqa: ARG002
        import_module(".loading", __package__)

    def load(self, files: bytes, manifest: Manifest, code: OwnerCode) -> Predictor:
        # The import of scikit-learn takes seconds: errors of the checks before do not wait for it.
        from .loading import parse, wrap_estimator  # noqa: PLC0415

        estimator = parse(files, manifest.artifact.trusted_types, code.transformers)
        together = not manifest.probes.row_independent
        return wrap_estimator(estimator, manifest.signature, together=together)
