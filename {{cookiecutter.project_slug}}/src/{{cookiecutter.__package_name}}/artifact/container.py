"""What must be true of a zip archive before a parser opens it.

A 196 KB archive can expand to half a gigabyte, a header can say less than what comes out, an
archive can hide in an archive, and a member's name can leave all of them.
"""

import copy
import io
import zipfile
from pathlib import PurePosixPath

from .refusals import ArtifactTooLarge, BadContainer, Refusal, reason

MAX_RATIO = 100
MAX_MEMBERS = 100_000
CHUNK = 64 * 1024
ARCHIVE = b"PK\x03\x04"

# The first bytes of what is found in place of a model.
_LOOKS = (
    (b"version https://git-lfs", "it is a Git LFS pointer: run `git lfs pull`"),
    (b"<", "it is a web page or other markup, not a model"),
    (b"\x80", "it is a pickle, which this service never reads"),
)


def check_zip(data: bytes, max_bytes: int) -> None:
    """Check that an archive may be expanded, in bounded memory.

    Raises BadContainer if `data` is not a sound zip archive, if a member expands to more than 100
    times its size or to more than its header says, or if a name leaves the archive.
    Raises ArtifactTooLarge if all of it would expand to more than `max_bytes`.
    """
    try:
        _check(data, max_bytes, MAX_RATIO)
    except Refusal:
        raise
    except Exception as error:  # there is no list of what zipfile raises
        raise BadContainer(
            f"the artifact is no sound skops file{looks_like(data)} ({reason(error)})"
        ) from None


def looks_like(data: bytes) -> str:
    """A remark on bytes that are no model, or nothing."""
    head = data[:64].lstrip()
    return next((f"; {remark}" for start, remark in _LOOKS if head.startswith(start)), "")


def _check(data: bytes, left: int, max_ratio: int) -> int:
    """Check one archive and those in it; return what remains of `left` bytes when expanded."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise BadContainer("the artifact has too many members")
        left -= sum(member.file_size for member in members)
        if left < 0:
            raise ArtifactTooLarge("the artifact expands to more than the service may load")
        for member in members:
            _check_name(member.filename)
            if member.file_size > max_ratio * max(member.compress_size, 1):
                raise BadContainer("the artifact is compressed over 100 times")
            if _head(archive, member) == ARCHIVE:
                # A sparse matrix: SciPy wrote it, and the zeros in it compress without limit.
                left = _check(archive.read(member), left, max_ratio=left)
    return left


def _check_name(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise BadContainer("the artifact has a member whose name leaves it")


def _head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The first bytes of a member, once it is sure to expand to what its header says.

    zipfile cuts off what is more, but only after it has expanded all of it in memory.
    """
    stored = member.compress_type == zipfile.ZIP_STORED
    if not stored and member.compress_type != zipfile.ZIP_DEFLATED:
        raise BadContainer("the artifact is compressed in another way than deflate")
    longer = copy.copy(member)
    longer.file_size += 1
    with archive.open(longer) as file:
        head = file.read(len(ARCHIVE))
        size = len(head)
        while not stored and (chunk := file.read(CHUNK)):
            size += len(chunk)
    if (member.compress_size if stored else size) != member.file_size:
        raise BadContainer("the artifact has a member of another size than its header says")
    return head
