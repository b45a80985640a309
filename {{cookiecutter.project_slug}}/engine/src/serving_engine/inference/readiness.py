"""Readiness: whether the service accepts new requests, as `/readyz` reports it."""


class Readiness:
    """Whether this process is ready. reason: why it is not; None if it is."""

    def __init__(self) -> None:
        self.reason: str | None = "starting"

    def ready(self) -> None:
        """The model is loaded and warm."""
        self.reason = None

    def drain(self) -> None:
        """The process is shutting down; requests in flight are finished."""
        self.reason = "draining"
