"""The runtime `onnx`: models from `.onnx` files."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ...model_files.load_errors import LibraryMissing
from ...model_files.manifest import ArtifactRecord, Manifest
from ...model_files.read_artifact import read_only_file
from ..base import OwnerCode, Predictor
from ..versions import check_libraries
from .model_check import check_model


class OnnxRuntime:
    """See `runtimes.base.Runtime`."""

    name = "onnx"
    formats = frozenset({"onnx"})

    def read(self, directory: Path, artifact: ArtifactRecord, max_bytes: int) -> bytes:
        data = read_only_file(directory, artifact, max_bytes)
        check_model(data)
        return data

    def check_environment(self, built_with: Mapping[str, str]) -> None:
        if "onnxruntime" not in built_with:
            raise LibraryMissing("onnxruntime")
        check_libraries(built_with)

    def import_libraries(self, code: OwnerCode) -> None:  # noqa: ARG002
        import_module(".predictor", __package__)

    def load(self, files: bytes, manifest: Manifest, code: OwnerCode) -> Predictor:  # noqa: ARG002
        from .predictor import OnnxPredictor, open_session  # noqa: PLC0415

        return OnnxPredictor(open_session(files), manifest.signature)
