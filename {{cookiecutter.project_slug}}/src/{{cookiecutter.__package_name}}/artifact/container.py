"""What must be true of a zip archive before a parser opens it.

A 196 KB archive can expand to half a gigabyte, and a member's name can leave the archive.
"""

import io
import zipfile
from pathlib import PurePosixPath

from ..errors import ModelError

MAX_RATIO = 100
MAX_MEMBERS = 100_000


def check_zip(data: bytes, max_bytes: int) -> None:
    """Check an archive's directory without expanding anything.

    Raises ModelError if `data` is not a zip archive, if its members would expand to more than
    `max_bytes` or to more than 100 times their size, or if a name leaves the archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise ModelError("the artifact is not a skops file. Package the model again.") from None
    if len(members) > MAX_MEMBERS:
        raise ModelError("the artifact has too many members. Package the model again.")
    if sum(member.file_size for member in members) > max_bytes:
        raise ModelError(
            f"the artifact would expand to more than {max_bytes} bytes. "
            "If you trust it, raise SERVING_MAX_MODEL_BYTES."
        )
    for member in members:
        if member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ModelError("the artifact is compressed over 100 times. Package the model again.")
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise ModelError("the artifact has a member that leaves it. Package the model again.")
