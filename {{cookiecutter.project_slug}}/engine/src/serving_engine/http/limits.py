"""Limits of a connection: how much one client may send, and how slowly."""

from dataclasses import dataclass

from ..settings import ServingSettings

LINGER = 2.0
"""Seconds in which a client that is still sending may read its response: closing at once would
reset the connection and lose the response (as nginx's lingering_close)."""

FIRST_REQUEST = 1.0
"""Seconds in which a connection that was accepted just before a shutdown may send a request."""

PIECE = 4096
"""Bytes that are parsed at once where requests may begin: 150 of the smallest requests."""

MAX_PIPELINED = 16
"""Requests of one connection that may wait for the response to an earlier one."""

REQUEST_BYTES = 4096
"""Memory of a request that waits, besides its body: headers, ASGI scope, cycle."""

CHUNK_LINE = 16
"""Bytes of every chunk that are not counted as extensions: its size and line ends."""

WRITE_BUFFER = 16 * 1024
"""Bytes of responses that may wait in the transport, uncounted, before writing pauses."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Sizes in bytes, times in seconds.

    header_timeout: from a request's first byte, or a connection's start, to the end of its
    headers. body_timeout: for a whole body, from when the application waits for it. keep_alive:
    from a response to the next request. buffered_bytes: of all connections of the process; a
    request of the largest size always fits.
    """

    url_bytes: int
    header_bytes: int
    header_fields: int
    header_timeout: float
    body_bytes: int
    body_timeout: float
    keep_alive: float
    buffered_bytes: int

    @classmethod
    def of(cls, settings: ServingSettings) -> "ConnectionLimits":
        """The limits in the settings."""
        return cls(
            url_bytes=settings.max_url_bytes,
            header_bytes=settings.max_header_bytes,
            header_fields=settings.max_header_fields,
            header_timeout=settings.header_timeout,
            body_bytes=settings.max_body_bytes,
            body_timeout=settings.body_timeout,
            keep_alive=settings.keep_alive_timeout,
            buffered_bytes=max(
                settings.max_buffered_bytes, settings.max_header_bytes + settings.max_body_bytes
            ),
        )
