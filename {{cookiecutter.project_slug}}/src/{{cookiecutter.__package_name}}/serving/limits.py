"""What one client may take of the service before its request is even a request."""

from dataclasses import dataclass

from ..settings import Settings


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds.

    header_timeout: from a request's first byte, or a connection's start, to the end of its
    headers. body_timeout: for all of a body that the application waits for. keep_alive: without
    a request.
    """

    url_bytes: int
    header_bytes: int
    header_fields: int
    header_timeout: float
    body_bytes: int
    body_timeout: float
    keep_alive: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits that are set."""
        return cls(
            url_bytes=settings.max_url_bytes,
            header_bytes=settings.max_header_bytes,
            header_fields=settings.max_header_fields,
            header_timeout=settings.header_timeout,
            body_bytes=settings.max_body_bytes,
            body_timeout=settings.body_timeout,
            keep_alive=settings.keep_alive_timeout,
        )
