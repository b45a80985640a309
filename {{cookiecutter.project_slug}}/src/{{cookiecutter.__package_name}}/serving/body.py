"""Request bodies as raw bytes: the right type, not too large, not too slow."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from email.message import Message

from ..errors import BodyTimeout, BodyTooLarge, InvalidInput, UnsupportedMediaType

# What is left of a refused body is not read: the connection cannot be used again.
_CLOSE = {"Connection": "close"}
_LONGEST_TIMEOUT = 9  # digits


async def read_json(
    headers: Mapping[str, str], chunks: AsyncIterator[bytes], max_bytes: int, timeout: float
) -> bytes:
    """Read a body that is declared to be JSON; nothing of it is parsed here.

    timeout: seconds for the whole body.
    Raises UnsupportedMediaType, BodyTooLarge (by its declared or its true length), BodyTimeout.
    """
    check_json(headers)
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(timeout):
            return await _read(chunks, max_bytes)
    except TimeoutError:
        raise BodyTimeout(
            f"The body did not arrive within {timeout:g} seconds.", headers=_CLOSE
        ) from None


def check_json(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaType unless the body is declared to be plain JSON in UTF-8."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding.")
    content_type = headers.get("content-type", "")
    if content_type == "application/json":
        return
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    if str(message.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send JSON in UTF-8.")


def client_timeout(headers: Mapping[str, str]) -> float | None:
    """Seconds that the client is willing to wait, from X-Request-Timeout-Ms; None if unsaid.

    Raises InvalidInput for anything but a whole number of milliseconds.
    """
    given = headers.get("x-request-timeout-ms")
    if given is None:
        return None
    if not (
        given.isascii() and given.isdecimal() and len(given) <= _LONGEST_TIMEOUT and int(given)
    ):
        raise InvalidInput("X-Request-Timeout-Ms must be a whole number of milliseconds, from 1.")
    return int(given) / 1000


async def _read(chunks: AsyncIterator[bytes], max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes.", headers=_CLOSE)
