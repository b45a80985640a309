"""Checks a zip archive before a parser opens it.

A 196 KB archive can expand to half a gigabyte, a header can state a smaller size than the true one,
an archive can contain another archive, and the name of a member can point outside of the archive.
"""

import copy
import io
import zipfile
from pathlib import PurePosixPath
from typing import NamedTuple

from ..text import reason
from .load_errors import ArtifactTooLarge, InvalidArchive, LoadError

MAX_RATIO = 100
MAX_MEMBERS = 100_000
CHUNK = 64 * 1024
ARCHIVE = b"PK\x03\x04"


class Hint(NamedTuple):
    """What a file is, in the middle of a sentence, and what to do; empty if it is not known."""

    found: str = ""
    remedy: str = ""

    @property
    def remark(self) -> str:
        """What the file is, as the end of a sentence."""
        return f"; it is {self.found}" if self.found else ""


# The first bytes of files that are often found in place of a model.
_NO_MODELS = (
    (b"version https://git-lfs", Hint("a Git LFS pointer", "Run `git lfs pull`.")),
    (b"<", Hint("a web page or other markup", "Download the file itself.")),
    (b"\x80", Hint("a pickle, which this service never reads")),
)


def check_zip(data: bytes, max_bytes: int) -> None:
    """Check, in bounded memory, that an archive may be expanded.

    Raises InvalidArchive if `data` is not a valid zip archive, if a member expands to more than 100
    times its size or to another size than its header states, or if a name points outside of it.
    Raises ArtifactTooLarge if the members would expand to more than `max_bytes` in total.
    """
    try:
        _check_archive(data, max_bytes, MAX_RATIO)
    except LoadError:
        raise
    except Exception as error:  # there is no list of what zipfile raises
        hint = content_hint(data)
        raise InvalidArchive(
            f"the artifact is not a valid skops file{hint.remark} ({reason(error)})", hint.remedy
        ) from None


def content_hint(data: bytes) -> Hint:
    """What bytes are that are often found in place of a model."""
    beginning = data[:64].lstrip()
    return next((hint for start, hint in _NO_MODELS if beginning.startswith(start)), Hint())


def _check_archive(data: bytes, left: int, max_ratio: int) -> int:
    """Check an archive and the archives in it; `left` bytes may be expanded.

    Returns how many bytes may still be expanded afterwards.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise InvalidArchive(f"the artifact has more than {MAX_MEMBERS} members")
        left -= sum(member.file_size for member in members)
        if left < 0:
            raise ArtifactTooLarge("the artifact expands to more than SERVING_MAX_MODEL_BYTES")
        for member in members:
            _check_name(member.filename)
            if member.file_size > max_ratio * max(member.compress_size, 1):
                raise InvalidArchive("the artifact expands to more than 100 times its size")
            if _first_bytes(archive, member) == ARCHIVE:
                # A sparse matrix that SciPy wrote: its zeros compress without limit.
                left = _check_archive(archive.read(member), left, max_ratio=left)
    return left


def _check_name(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise InvalidArchive("the artifact has a member whose name points outside of it")


def _first_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The first bytes of a member, after a check that it expands to the size in its header.

    zipfile cuts a member at that size too, but only after it has expanded all of it in memory.
    """
    stored = member.compress_type == zipfile.ZIP_STORED
    if not stored and member.compress_type != zipfile.ZIP_DEFLATED:
        raise InvalidArchive(
            "the artifact has an unsupported compression; only deflate is supported"
        )
    longer = copy.copy(member)
    longer.file_size += 1
    with archive.open(longer) as file:
        first_bytes = file.read(len(ARCHIVE))
        size = len(first_bytes)
        while not stored and (chunk := file.read(CHUNK)):
            size += len(chunk)
    if (member.compress_size if stored else size) != member.file_size:
        raise InvalidArchive("the artifact has a member of another size than its header states")
    return first_bytes
