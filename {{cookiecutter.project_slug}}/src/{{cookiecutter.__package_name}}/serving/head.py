"""The bytes before a body: checked, written anew, and composed for answers of our own."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..errors import HeadersTooLarge, MalformedRequest, RequestError, URITooLong
from .limits import Limits

Header = tuple[bytes, bytes]
Answer = tuple[int, Sequence[Header], bytes]
"""Status, headers and body."""
Refuse = Callable[[RequestError, str], Answer]
"""Words an error as the path that was asked for has its errors."""


def check_head(url: bytes, fields: Sequence[Header], version: str, limits: Limits) -> None:
    """Check the head of a request that is whole.

    fields: names in lower case. version: of HTTP. Raises URITooLong, HeadersTooLarge or
    MalformedRequest.
    """
    size = len(url)
    hosts = 0
    for name, value in fields:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
    too_large = size > limits.header_bytes or len(fields) > limits.header_fields
    if too_large or len(url) > limits.url_bytes:
        raise too_large_head(url, fields, limits)
    if hosts > 1 or (not hosts and version == "1.1"):  # RFC 9112, section 3.2
        raise MalformedRequest("The request must have one Host header.")


def too_large_head(url: bytes, fields: Sequence[Header], limits: Limits) -> RequestError:
    """The error of a head that is over a limit: of its URL, or else of its headers."""
    if not fields or len(url) > limits.url_bytes:
        return URITooLong(f"The URL is longer than {limits.url_bytes} bytes.")
    return HeadersTooLarge(
        f"There are more than {limits.header_fields} headers, or more than "
        f"{limits.header_bytes} bytes of them."
    )


def describe(scope: dict[str, Any], method: bytes, url: bytes, version: str) -> None:
    """Fill in what the first line of a request says.

    scope: of ASGI, with `root_path`. Raises ValueError or httptools' own error for a bad URL.
    """
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    scope["method"] = method.decode("ascii")
    scope["http_version"] = version
    scope["path"] = scope["root_path"] + (unquote(path) if "%" in path else path)
    scope["raw_path"] = scope["root_path"].encode("ascii") + parsed.path
    scope["query_string"] = parsed.query or b""


def without_upgrade(method: bytes, url: bytes, fields: Sequence[Header]) -> bytes:
    """The head of a request that offers another protocol, without the offer (RFC 9110, 7.8)."""
    lines = [method, b" ", url, b" HTTP/1.1\r\n"]
    for name, value in fields:
        if name not in {b"connection", b"upgrade"}:
            lines += (name, b": ", value, b"\r\n")
    return b"".join([*lines, b"\r\n"])


def path_of(url: bytes) -> str:
    """The path of a URL that may be bad, or not whole."""
    return unquote(url.partition(b"?")[0].decode("latin-1"))


def last_answer(answer: Answer, fields: Sequence[Header]) -> bytes:
    """A whole answer, the last on its connection.

    fields: what every answer carries.
    """
    status, headers, body = answer
    lines = [STATUS_LINE[status]]
    for name, value in (*fields, *headers):
        if name != b"connection":
            lines += (name, b": ", value, b"\r\n")
    return b"".join([*lines, b"connection: close\r\n\r\n", body])
