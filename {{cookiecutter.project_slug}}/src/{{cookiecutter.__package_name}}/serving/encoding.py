"""Compressed request bodies, expanded as far as a body may be long and no further."""

import zlib

from ..errors import BodyTooLarge, InvalidInput, UnsupportedMediaType

_WINDOWS = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}
"""zlib's wbits. What is called deflate is zlib's format (RFC 9110, 8.4.1.2); some send it bare."""


def expand(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """What a body of this Content-Encoding holds.

    Raises UnsupportedMediaType, InvalidInput, or BodyTooLarge if it expands to more than
    `max_bytes`; no more than that is ever expanded.
    """
    encoding = encoding.strip(b" \t").lower()
    if encoding in {b"", b"identity"}:
        return body
    if encoding not in _WINDOWS:
        raise UnsupportedMediaType(
            "Send the body plain, or with Content-Encoding: gzip or deflate."
        )
    for window in _WINDOWS[encoding]:
        stream = zlib.decompressobj(window)
        try:
            found = stream.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(found) > max_bytes:
            raise BodyTooLarge(f"The body expands to more than {max_bytes} bytes.")
        if stream.eof and not stream.unused_data:
            return found
    raise InvalidInput(f"The body is not what {encoding.decode()} makes.")
