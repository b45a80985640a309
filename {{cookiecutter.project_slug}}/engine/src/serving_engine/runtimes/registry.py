"""The runtime of each format. A runtime is imported when a model needs it."""

from importlib import import_module

from ..model_files.load_errors import UnsupportedFormat
from .base import Runtime

RUNTIMES = {
    "skops": "scikit_learn.runtime:ScikitLearnRuntime",
    "onnx": "onnx.runtime:OnnxRuntime",
    "python": "python.runtime:PythonRuntime",
}
"""The class of the runtime for each `artifact.format`, relative to this package."""


def find_runtime(artifact_format: str) -> Runtime:
    """The runtime for a format. Raises UnsupportedFormat."""
    path = RUNTIMES.get(artifact_format)
    if path is None:
        raise UnsupportedFormat(
            f"the artifact's format {artifact_format!r} is unsupported; "
            f"this service supports {', '.join(RUNTIMES)}"
        )
    module, _, name = path.partition(":")
    runtime: Runtime = getattr(import_module(f".{module}", __package__), name)()
    return runtime
