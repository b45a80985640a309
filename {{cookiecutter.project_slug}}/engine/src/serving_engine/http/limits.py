"""Limits of a connection: how much one client may send, and how slowly."""

from dataclasses import dataclass

from ..settings import ServingSettings

LINGER = 2.0
"""Seconds in which a client that is still sending may read its response: closing at once would
reset the connection and lose the response (as nginx's lingering_close)."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Sizes in bytes, times in seconds.

    header_timeout: from a request's first byte, or a connection's start, to the end of its
    headers. body_timeout: for a whole body, from when the application waits for it. keep_alive:
    from a response to the next request.
    """

    url_bytes: int
    header_bytes: int
    header_fields: int
    header_timeout: float
    body_bytes: int
    body_timeout: float
    keep_alive: float

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
        )
