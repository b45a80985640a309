"""Reads an artifact once and verifies its checksum: the same bytes are loaded afterwards."""

import hashlib
import hmac
from pathlib import Path

from .load_errors import (
    ArtifactMissing,
    ArtifactTooLarge,
    ArtifactUnreadable,
    ChecksumMismatch,
    SizeMismatch,
)
from .manifest import ArtifactRecord
from .regular_file import open_regular
from .zip_check import content_hint


def read_artifact(path: Path, record: ArtifactRecord, max_bytes: int) -> bytes:
    """Read an artifact and verify the size and the SHA-256 that the manifest records.

    Links are followed, also out of the model directory, as the mounts of Kubernetes and model
    caches consist of them: the checksum decides. max_bytes: largest artifact.
    Raises ArtifactTooLarge, ArtifactMissing, ArtifactUnreadable, SizeMismatch or ChecksumMismatch.
    """
    if record.size > max_bytes:
        raise ArtifactTooLarge(
            f"{path} should have {record.size} bytes; SERVING_MAX_MODEL_BYTES is {max_bytes}"
        )
    try:
        with open_regular(path) as file:
            data = file.read(record.size + 1)
    except FileNotFoundError:
        raise ArtifactMissing(
            f"model missing: the manifest names {path}, which does not exist"
        ) from None
    except OSError as error:
        raise ArtifactUnreadable(f"cannot read {path}: {error.strerror}") from None
    except (MemoryError, OverflowError):
        raise ArtifactTooLarge(
            f"out of memory: {path} should have {record.size} bytes",
            remedy="Give the process more memory.",
        ) from None
    hint = content_hint(data)
    if len(data) != record.size:
        actual = "more" if len(data) > record.size else len(data) or "none"
        raise SizeMismatch(
            f"size mismatch: {path} should have {record.size} bytes and has {actual}{hint.remark}",
            hint.remedy,
        )
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), record.sha256):
        raise ChecksumMismatch(
            f"checksum mismatch: the SHA-256 of {path} is not the manifest's{hint.remark}",
            hint.remedy,
        )
    return data
