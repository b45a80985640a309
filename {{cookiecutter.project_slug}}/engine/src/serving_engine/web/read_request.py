"""Reads a request for every protocol: headers, deadline, media type, and body as raw bytes."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fastapi import Request

from ..asgi import BodyHolder
from ..errors import BodyTooLarge, InvalidInput, UnsupportedMediaType
from ..settings import ServingSettings

Headers = Mapping[bytes, bytes]
"""The value of each header field, by its name in lower case."""

_JSON = re.compile(rb"application/([!#$&^_.+0-9a-z-]+\+)?json", re.IGNORECASE)
_CHARSET = re.compile(rb";[ \t]*charset=([^;]*)", re.IGNORECASE)
_UTF_8 = re.compile(rb'"?utf-?8"?', re.IGNORECASE)
_MAX_TIMEOUT_DIGITS = 9
_MAX_LENGTH_DIGITS = 18


class Received(NamedTuple):
    """A request that was read.

    timeout: seconds that the client waits for a response; None for the server's own timeout.
    """

    headers: Headers
    body: bytes
    timeout: float | None


def check_json(headers: Headers) -> None:
    """Raise UnsupportedMediaType unless the headers declare plain JSON in UTF-8."""
    check_not_encoded(headers)
    content_type = headers.get(b"content-type", b"")
    if content_type == b"application/json":
        return
    if not _JSON.fullmatch(content_type.partition(b";")[0].strip(b" \t")):
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    if not all(_UTF_8.fullmatch(name.strip(b" \t")) for name in _CHARSET.findall(content_type)):
        raise UnsupportedMediaType("Send JSON in UTF-8.")


async def read_request(
    request: Request, settings: ServingSettings, check: Callable[[Headers], None] = check_json
) -> Received:
    """Read a request; its body is not parsed.

    check: raises UnsupportedMediaType if the headers declare a body that the protocol does not
    support. The connection limits the time of the body; it also limits the size, for routes that
    read their body in another way.
    Raises that error; BodyTooLarge, for the declared or the true length; InvalidInput, for an
    invalid X-Request-Timeout-Ms; BodyTimeout.
    """
    headers = by_name(request.scope["headers"])
    timeout = _client_timeout(headers)
    check(headers)
    limit = settings.max_body_bytes
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > _MAX_LENGTH_DIGITS or int(declared) > limit):
        raise BodyTooLarge.over(limit)
    body = _whole_body(request)
    if body is None:
        body = await _read_body(request, limit)
    return Received(headers, body, timeout)


def _whole_body(request: Request) -> bytes | None:
    """The body, if the server has all of it: most are one packet. The server limits its size."""
    holder = getattr(request.receive, "__self__", None)
    body = holder.whole_body() if isinstance(holder, BodyHolder) else None
    if body is not None:
        request._stream_consumed = True  # as if `stream` had read it
    return body


async def _read_body(request: Request, limit: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge.over(limit)
    return b"".join(chunks)


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Return the value of each header field; repeated fields are joined (RFC 9110, section 5.3)."""
    values_by_name = dict(headers)
    if len(values_by_name) == len(headers):
        return values_by_name
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in lines.items()}


def check_not_encoded(headers: Headers) -> None:
    """Raise UnsupportedMediaType if the body has a Content-Encoding."""
    if headers.get(b"content-encoding", b"identity").lower() not in {b"identity", b""}:
        raise UnsupportedMediaType("Send the body without Content-Encoding.")


def _client_timeout(headers: Headers) -> float | None:
    """Return the seconds of X-Request-Timeout-Ms."""
    value = headers.get(b"x-request-timeout-ms")
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= _MAX_TIMEOUT_DIGITS and int(value)):
        raise InvalidInput("X-Request-Timeout-Ms must be a whole number of milliseconds, from 1.")
    return int(value) / 1000
