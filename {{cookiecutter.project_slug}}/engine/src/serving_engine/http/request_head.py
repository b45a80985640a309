"""The head of a request: its checks, its ASGI scope; and the final response on a connection."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..asgi import Header, RawResponse, Scope
from ..errors import HeadersTooLarge, MalformedRequest, RequestError, URITooLong
from .limits import ConnectionLimits

FormatError = Callable[[RequestError, str], RawResponse]
"""Formats an error in the protocol of a path."""

# host [":" port] (RFC 3986, section 3.2.2); an empty host is valid (RFC 9112, section 3.2).
_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
)
_MAX_HOST = 300
"""Longer than any host: what is cut to this length does not match."""
_VERSIONS = ("1.1", "1.0")


def check_head(
    url: bytes, fields: Sequence[Header], version: str, limits: ConnectionLimits
) -> None:
    """Check the complete head of a request.

    fields: names in lower case. version: of HTTP. Raises URITooLong, HeadersTooLarge or
    MalformedRequest.
    """
    size = len(url)
    hosts = 0
    host = b""
    for name, value in fields:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            host = value
    too_large = size > limits.header_bytes or len(fields) > limits.header_fields
    if too_large or len(url) > limits.url_bytes:
        raise too_large_head(url, fields, limits)
    if hosts > 1 or (not hosts and version == "1.1"):  # RFC 9112, section 3.2
        raise MalformedRequest("The request must have one Host header.")
    if not _is_host(host[:_MAX_HOST]):
        raise MalformedRequest("The Host header is not a host.")
    if version not in _VERSIONS:
        raise MalformedRequest("The request is not HTTP/1.1.")


@lru_cache
def _is_host(value: bytes) -> bool:
    """Whether a value is `host [":" port]`. Cached: clients send few different ones."""
    return _HOST.fullmatch(value) is not None


def too_large_head(url: bytes, fields: Sequence[Header], limits: ConnectionLimits) -> RequestError:
    """The error for a head that exceeds a limit: that of the URL, or else that of the headers."""
    if not fields or len(url) > limits.url_bytes:
        return URITooLong(f"The URL is longer than {limits.url_bytes} bytes.")
    return HeadersTooLarge(
        f"The headers have more than {limits.header_fields} fields or {limits.header_bytes} bytes."
    )


def fill_scope(scope: Scope, method: bytes, url: bytes, version: str) -> None:
    """Fill the ASGI scope from the request line.

    scope: has `root_path`. Raises ValueError or HttpParserInvalidURLError for an invalid URL.
    """
    path, raw_path, query = _parse_url(url)
    root_path: str = scope["root_path"]
    scope["method"] = method.decode("ascii")
    scope["http_version"] = version
    scope["path"] = root_path + path if root_path else path
    scope["raw_path"] = root_path.encode("ascii") + raw_path if root_path else raw_path
    scope["query_string"] = query


@lru_cache(maxsize=64)
def _parse_url(url: bytes) -> tuple[str, bytes, bytes]:
    """The decoded path, the path and the query. Cached: most requests are for few different URLs.

    url: within the limit of its length, so that the cache is small.
    """
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def without_upgrade(method: bytes, url: bytes, fields: Sequence[Header]) -> bytes:
    """The head of a request without its offer of an upgrade (RFC 9110, section 7.8)."""
    lines = [method, b" ", url, b" HTTP/1.1\r\n"]
    for name, value in fields:
        if name == b"connection":
            tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
            lines += (b"connection: ", b"close" if b"close" in tokens else b"keep-alive", b"\r\n")
        elif name != b"upgrade":
            lines += (name, b": ", value, b"\r\n")
    return b"".join([*lines, b"\r\n"])


def requested_path(url: bytes) -> str:
    """Return the path of a URL that may be invalid or incomplete."""
    return unquote(url.partition(b"?")[0].decode("latin-1"))


def final_response(response: RawResponse, fields: Sequence[Header]) -> bytes:
    """Return the bytes of the last response on a connection.

    fields: headers that every response has.
    """
    status, headers, body = response
    lines = [STATUS_LINE[status]]
    for name, value in (*fields, *headers):
        if name != b"connection":
            lines += (name, b": ", value, b"\r\n")
    return b"".join([*lines, b"connection: close\r\n\r\n", body])
