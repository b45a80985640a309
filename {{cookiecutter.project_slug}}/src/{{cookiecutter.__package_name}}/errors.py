"""Everything that can go wrong, as one taxonomy. From the template; upgraded with it.

What a client did wrong is told to the client; what we did wrong is told to the log, and the
client gets an id. Protocols in `api/` decide how an error looks on the wire, not what it says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

# What is left of a refused request is not read: its connection cannot be used again.
CLOSE = {"Connection": "close"}


class ServiceExit(Exception):
    """Ends the process: `str()` is one line that says what is wrong and what to do."""

    exit_code = 1


class CrashLoop(ServiceExit):
    """Workers end as soon as they start."""

    exit_code = 1


class UsageError(ServiceExit):
    """A setting or an argument is wrong."""

    exit_code = 2


class StartupError(ServiceExit):
    """The service cannot start."""

    exit_code = 3


class ModelError(StartupError):
    """The model directory does not hold a model that may be served."""


class NarrowerSignature(ModelError):
    """A model that was to replace another would refuse what the other accepts."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request body.

    pointer: where, as a JSON pointer (RFC 6901). message: what is expected there; it never
    repeats the rejected value.
    """

    pointer: str
    message: str


class RequestError(Exception):
    """A request that gets no prediction; subclasses say which kind.

    detail: what is wrong, for the client. errors: where exactly, if that is known. headers: what
    the answer carries besides.
    """

    status = 500
    kind = "internal-error"
    title = "Internal error"

    def __init__(
        self,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """What every problem document says (RFC 9457)."""
        return {
            "type": f"urn:problem-type:serving:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class MalformedRequest(RequestError):
    """What came is not a request of HTTP/1.1 (RFC 9112)."""

    status, kind, title = 400, "malformed-request", "Malformed request"


class InvalidJSON(RequestError):
    """The body is not JSON (RFC 8259)."""

    status, kind, title = 400, "invalid-json", "Not JSON"


class Unauthorized(RequestError):
    """There is no API key, or an unknown one."""

    status, kind, title = 401, "unauthorized", "Unauthorized"


class NotFound(RequestError):
    """There is no such thing at this path."""

    status, kind, title = 404, "not-found", "Not Found"


class HeaderTimeout(RequestError):
    """The headers did not arrive in time."""

    status, kind, title = 408, "header-timeout", "Request took too long to arrive"

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The error after so many seconds."""
        return cls(f"The headers did not arrive within {seconds:g} seconds.", headers=CLOSE)


class BodyTimeout(RequestError):
    """The body did not arrive in time."""

    status, kind, title = 408, "body-timeout", "Request took too long to arrive"

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The error after so many seconds."""
        return cls(f"The body did not arrive within {seconds:g} seconds.", headers=CLOSE)


class BodyTooLarge(RequestError):
    """The body is larger than `SERVING_MAX_BODY_BYTES`."""

    status, kind, title = 413, "body-too-large", "Body too large"

    @classmethod
    def over(cls, most: int) -> Self:
        """The error of a body of more than `most` bytes."""
        return cls(f"The body is larger than {most} bytes.", headers=CLOSE)


class URITooLong(RequestError):
    """The URL is longer than `SERVING_MAX_URL_BYTES`."""

    status, kind, title = 414, "uri-too-long", "URL too long"


class UnsupportedMediaType(RequestError):
    """The body is not JSON by its type, or it is encoded."""

    status, kind, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidInput(RequestError):
    """The body is JSON but does not fit the model's signature."""

    status, kind, title = 422, "invalid-input", "Input does not fit the model"


class HeadersTooLarge(RequestError):
    """The headers are more than `SERVING_MAX_HEADER_BYTES` or `SERVING_MAX_HEADER_FIELDS`."""

    status, kind, title = 431, "headers-too-large", "Headers too large"


class QueueFull(RequestError):
    """More rows or requests wait than the queue may hold."""

    status, kind, title = 503, "queue-full", "Too busy"


class Unavailable(RequestError):
    """The service is starting or draining."""

    status, kind, title = 503, "unavailable", "Not available"


class DeadlineExceeded(RequestError):
    """No answer within the deadline."""

    status, kind, title = 504, "deadline-exceeded", "Deadline passed"


class PredictionFailed(RequestError):
    """The model failed. The log has the reason under the same id."""

    status, kind, title = 500, "prediction-failed", "The model failed"


class NonFiniteOutput(PredictionFailed):
    """The model answered with a number that JSON cannot carry."""

    kind, title = "non-finite-output", "The model's answer is not finite"
