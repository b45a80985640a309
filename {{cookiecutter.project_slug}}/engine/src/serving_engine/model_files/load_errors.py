"""Load errors: one class for each check of loading a model, in the order of the checks."""

from ..distribution import add_command
from ..errors import ModelError
from ..text import one_line

_GET_A_MODEL = (
    "Fetch a model with `model fetch URL`, package your own with `model package FILE`, "
    "or set SERVING_MODEL_DIR."
)
_FETCH_AGAIN = "Fetch the model again with `model fetch URL`."
_MAKE_READABLE = "Make it a file that the user of this process may read."


class LoadError(ModelError):
    """A check failed. `str()` is one printable line: what is wrong, then the remedy."""

    remedy = "Package the model again with `model package FILE`."

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        self.problem = one_line(problem).rstrip(".")
        self.remedy = one_line(remedy or self.remedy)
        super().__init__(f"{self.problem}. {self.remedy}")


class DirectoryMissing(LoadError):
    """The model directory does not exist."""

    remedy = _GET_A_MODEL


class ManifestMissing(LoadError):
    """The model directory holds no manifest."""

    remedy = _GET_A_MODEL


class ManifestUnreadable(LoadError):
    """The operating system cannot read the manifest."""

    remedy = _MAKE_READABLE


class ManifestInvalid(LoadError):
    """The manifest is not JSON, or violates the schema of a manifest."""


class ManifestNewer(LoadError):
    """A later release of this service wrote the manifest."""

    remedy = (
        "Upgrade the service from its template, or package the model again with "
        "this service's `model package FILE`."
    )


class UnsupportedFormat(LoadError):
    """No runtime of this service reads the artifact's format."""


class ArtifactTooLarge(LoadError):
    """The artifact is too large, on disk or expanded."""

    remedy = "If you trust the model, raise SERVING_MAX_MODEL_BYTES."


class ArtifactMissing(LoadError):
    """The manifest names a file that does not exist."""

    remedy = _FETCH_AGAIN


class ArtifactUnreadable(LoadError):
    """The operating system cannot read the artifact."""

    remedy = _MAKE_READABLE


class NoRoomForCopies(LoadError):
    """The files of the model cannot be copied to a private folder."""

    remedy = "Set TMPDIR to a folder that this process may write to, with room for the model."


class SizeMismatch(LoadError):
    """The size of the artifact is not the manifest's."""

    remedy = _FETCH_AGAIN


class ChecksumMismatch(LoadError):
    """The SHA-256 of the artifact is not the manifest's."""

    remedy = _FETCH_AGAIN


class InvalidArchive(LoadError):
    """The artifact is not a zip archive, or is not safe to expand."""


class VersionMismatch(LoadError):
    """The model was built with another release of a library than the installed one."""

    remedy = "Install the release that fitted the model, or fit and package the model again."


class LibraryMissing(LoadError):
    """The model needs a library that is not installed."""

    def __init__(self, name: str, release: str = "") -> None:
        super().__init__(
            f"the model needs {name}, which is not installed",
            f"Add it: {add_command(name, release)}",
        )


class UntrustedTypes(LoadError):
    """The artifact holds types that are not trusted."""


class InvalidArtifact(LoadError):
    """The artifact cannot be parsed."""


class ModelClassInvalid(LoadError):
    """The owner's class of a model cannot be imported, or is no `PythonModel`."""

    remedy = "Correct the class that the settings name in `model_class`."


class ModelClassFailed(LoadError):
    """The owner's class raises an error while it loads the files of its model."""

    remedy = "Correct its method `load`, or package the model again."


class SignatureMismatch(LoadError):
    """The model in the artifact does not fit the manifest's signature."""


class GoldenExampleFailed(LoadError):
    """The model raises an error for a golden example, or the signature rejects it."""


class GoldenExampleMismatch(LoadError):
    """The prediction for a golden example differs from the recorded one."""

    remedy = "Install the releases that the manifest names, or package the model again."
