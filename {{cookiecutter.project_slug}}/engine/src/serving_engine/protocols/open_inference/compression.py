"""Compressed request bodies, expanded up to the limit of a body's size."""

import zlib

from ...errors import BodyTooLarge, InvalidInput, UnsupportedMediaType

_WINDOWS = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}
"""zlib's wbits. deflate is zlib's format (RFC 9110, 8.4.1.2); some clients omit its header."""


def expand(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Expand a body of this Content-Encoding.

    Raises UnsupportedMediaType; InvalidInput; BodyTooLarge if it expands to more than `max_bytes`,
    after which expanding stops.
    """
    encoding = encoding.strip(b" \t").lower()
    if encoding in {b"", b"identity"}:
        return body
    if encoding not in _WINDOWS:
        raise UnsupportedMediaType(
            "Send the body uncompressed, or with Content-Encoding: gzip or deflate."
        )
    for window in _WINDOWS[encoding]:
        stream = zlib.decompressobj(window)
        try:
            expanded = stream.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(expanded) > max_bytes:
            raise BodyTooLarge(f"The body expands to more than {max_bytes} bytes.")
        if stream.eof and not stream.unused_data:
            return expanded
    raise InvalidInput(f"The body is not valid {encoding.decode()}.")
