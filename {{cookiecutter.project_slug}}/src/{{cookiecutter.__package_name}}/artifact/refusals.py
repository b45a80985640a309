"""Why a model is refused: one error for each step of loading, in the order of the steps."""

from ..errors import ModelError

LONGEST_PROBLEM = 800  # characters; names of types and columns come from files

_GET_ONE = (
    "Fetch a model with `model fetch URL`, package your own with `model package FILE`, "
    "or set SERVING_MODEL_DIR."
)
_FETCH_AGAIN = "Fetch the model again with `model fetch URL`."
_MAKE_READABLE = "Make it a file that this user may read."


class Refusal(ModelError):
    """A check that failed. `str()` is one printable line: what is wrong, then the remedy."""

    remedy = "Package the model again with `model package FILE`."

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        self.problem = one_line(problem).rstrip(".")
        self.remedy = one_line(remedy or self.remedy)
        super().__init__(f"{self.problem}. {self.remedy}")


class DirectoryMissing(Refusal):
    """There is no model directory."""

    remedy = _GET_ONE


class ManifestMissing(Refusal):
    """There is a directory, and no manifest in it."""

    remedy = _GET_ONE


class ManifestUnreadable(Refusal):
    """The operating system does not give the manifest."""

    remedy = _MAKE_READABLE


class ManifestInvalid(Refusal):
    """The manifest is not JSON, or not what a manifest must be."""


class ManifestNewer(Refusal):
    """A later release of this service wrote the manifest."""

    remedy = (
        "Upgrade the service from its template, or package the model again with "
        "this service's `model package FILE`."
    )


class ArtifactTooLarge(Refusal):
    """The artifact is larger than the service may load, as it is or expanded."""

    remedy = "If you trust it, raise SERVING_MAX_MODEL_BYTES."


class ArtifactMissing(Refusal):
    """The manifest names a file that is not there."""

    remedy = _FETCH_AGAIN


class ArtifactUnreadable(Refusal):
    """The operating system does not give the artifact."""

    remedy = _MAKE_READABLE


class WrongSize(Refusal):
    """The artifact has not the size that the manifest records."""

    remedy = _FETCH_AGAIN


class WrongHash(Refusal):
    """The artifact has not the SHA-256 that the manifest records."""

    remedy = _FETCH_AGAIN


class BadContainer(Refusal):
    """The artifact is no zip archive, or one that must not be expanded."""


class OtherRelease(Refusal):
    """Another minor release of scikit-learn fitted the model."""

    remedy = "Install the release that fitted it, or fit and package it again."


class LibraryMissing(Refusal):
    """The model needs a library that is not installed."""

    def __init__(self, name: str, release: str = "") -> None:
        wanted = f"{name}~={'.'.join(release.split('.')[:2])}" if release else name
        super().__init__(
            f"the model needs {name}, which is not installed", f"Add it: uv add '{wanted}'."
        )


class UntrustedTypes(Refusal):
    """The artifact holds types that this service does not build."""


class Unparsable(Refusal):
    """The parser fails on the artifact."""


class WrongShape(Refusal):
    """What the artifact holds is not the model that the manifest describes."""


class ExampleFails(Refusal):
    """The model, or the signature, does not take a golden example."""


class ExampleDiffers(Refusal):
    """A golden example gives another answer than it did when the model was packaged."""

    remedy = "Install the releases that the manifest names, or package the model again."


def one_line(text: str, most: int = LONGEST_PROBLEM) -> str:
    """The text with everything escaped that could break a line or a terminal."""
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    return line if len(line) <= most else f"{line[:most]}…"


def reason(error: BaseException) -> str:
    """The kind and the message of an error, for a sentence about it."""
    return one_line(f"{type(error).__name__}: {error}", most=300)
