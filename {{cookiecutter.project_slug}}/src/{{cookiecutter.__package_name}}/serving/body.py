"""Request bodies as raw bytes: the right type, not too large, not too slow."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence

from ..errors import BodyTooLarge, InvalidInput, UnsupportedMediaType

_JSON = re.compile(rb"application/([!#$&^_.+0-9a-z-]+\+)?json", re.IGNORECASE)
_CHARSET = re.compile(rb";[ \t]*charset=([^;]*)", re.IGNORECASE)
_UTF_8 = re.compile(rb'"?utf-?8"?', re.IGNORECASE)
_LONGEST_TIMEOUT = 9  # digits
_LONGEST_LENGTH = 18


def fields(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """The value of each header field; one that came in several lines is joined (RFC 9110, 5.3)."""
    found = dict(headers)
    if len(found) == len(headers):
        return found
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in lines.items()}


async def read_body(
    headers: Mapping[bytes, bytes], chunks: AsyncIterator[bytes], max_bytes: int
) -> bytes:
    """Read a body; nothing of it is parsed here.

    headers: as `fields` gives them. How long it may take is the connection's matter.
    Raises BodyTooLarge by its declared or its true length.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > _LONGEST_LENGTH or int(declared) > max_bytes):
        raise BodyTooLarge.over(max_bytes)
    body = []
    size = 0
    async for chunk in chunks:
        body.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge.over(max_bytes)
    return b"".join(body)


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Raise UnsupportedMediaType unless the body is declared to be plain JSON in UTF-8."""
    if headers.get(b"content-encoding", b"identity").lower() not in {b"identity", b""}:
        raise UnsupportedMediaType("Send the body without Content-Encoding.")
    content_type = headers.get(b"content-type", b"")
    if content_type == b"application/json":
        return
    if not _JSON.fullmatch(content_type.partition(b";")[0].strip(b" \t")):
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    if not all(_UTF_8.fullmatch(name.strip(b" \t")) for name in _CHARSET.findall(content_type)):
        raise UnsupportedMediaType("Send JSON in UTF-8.")


def client_timeout(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds that the client is willing to wait, from X-Request-Timeout-Ms; None if unsaid.

    Raises InvalidInput for anything but a whole number of milliseconds.
    """
    given = headers.get(b"x-request-timeout-ms")
    if given is None:
        return None
    if not (given.isdigit() and len(given) <= _LONGEST_TIMEOUT and int(given)):
        raise InvalidInput("X-Request-Timeout-Ms must be a whole number of milliseconds, from 1.")
    return int(given) / 1000
