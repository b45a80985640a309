"""The runtime `python`: a class of the owner's, and any files that it reads."""

from collections.abc import Mapping
from pathlib import Path

from ...model_files.manifest import ArtifactRecord, Manifest
from ...model_files.read_artifact import VerifiedCopies
from ..base import OwnerCode, Predictor
from ..versions import check_libraries
from .predictor import PythonPredictor, check_classes, import_class, load_class


class PythonRuntime:
    """See `runtimes.base.Runtime`."""

    name = "python"
    formats = frozenset({"python"})

    def read(self, directory: Path, artifact: ArtifactRecord, max_bytes: int) -> VerifiedCopies:
        return VerifiedCopies.of_directory(directory, artifact, max_bytes)

    def check_environment(self, built_with: Mapping[str, str]) -> None:
        check_libraries(built_with)

    def import_libraries(self, code: OwnerCode) -> None:
        import_class(code.model_class)

    def load(self, files: VerifiedCopies, manifest: Manifest, code: OwnerCode) -> Predictor:
        model = load_class(code.model_class, files)
        check_classes(model, manifest.signature)
        together = not manifest.probes.row_independent
        return PythonPredictor(model, manifest.signature, together=together)
