"""Whether new work should come: what `/readyz` says."""


class Readiness:
    """Ready, or the reason why not."""

    def __init__(self) -> None:
        self.reason: str | None = "starting"

    def ready(self) -> None:
        """The model may be used."""
        self.reason = None

    def drain(self) -> None:
        """The process will end; what is in flight is finished."""
        self.reason = "draining"
