"""Every error of the engine, as one taxonomy.

The response describes an error of the client. An error of the service is logged, and the response
has only the id of the log line. `protocols/` and `web/` decide the format of an error on the wire,
not its content.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Self

# What json.dumps writes for a float that is not finite.
_NOT_FINITE = ("NaN", "Infinity")

# The server does not read a rejected request to its end, so its connection cannot be reused.
_CLOSE = {"Connection": "close"}


def retry_after() -> dict[str, str]:
    """The header of a 503 that says when to try again: random, so that not all clients return
    together."""
    return {"Retry-After": str(random.randint(1, 3))}  # noqa: S311


class ServiceExit(Exception):
    """Ends the process. `str()` is one line: what is wrong, then the remedy."""

    exit_code = 1


class CrashLoop(ServiceExit):
    """Workers end as soon as they start."""


class UsageError(ServiceExit):
    """A setting or an argument is invalid."""

    exit_code = 2


class StartupError(ServiceExit):
    """The service cannot start."""

    exit_code = 3


class ModelError(StartupError):
    """The model directory holds no model that may be served."""


class LoadTimeout(StartupError):
    """Loading the model took too long."""


class IncompatibleSignature(ModelError):
    """A new model would reject requests that the current model accepts."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request body.

    pointer: its place, as a JSON pointer (RFC 6901). message: what is expected there; it never
    repeats the rejected value.
    """

    pointer: str
    message: str


class RequestError(Exception):
    """A request that gets no prediction. Each subclass is one kind of it.

    detail: what is wrong, for the client. errors: each invalid place, if known. headers: extra
    headers of the response.
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

    def document(self) -> dict[str, object]:
        """The members that every problem document has (RFC 9457)."""
        return {
            "type": f"urn:problem-type:serving:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class NotAnException(RuntimeError):
    """Code of the model raised what is no Exception: SystemExit, or a panic of a Rust extension."""


def as_exception(error: BaseException) -> Exception:
    """The error itself, or a NotAnException that it causes.

    What is no Exception would end the thread or the event loop, or look like a cancelled task; a
    future does not accept StopIteration.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = NotAnException(f"the model raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


class MalformedRequest(RequestError):
    """The bytes received are not a request of HTTP/1.1 (RFC 9112)."""

    status = 400
    kind = "malformed-request"
    title = "Malformed request"


class InvalidJSON(RequestError):
    """The body is not JSON (RFC 8259)."""

    status = 400
    kind = "invalid-json"
    title = "Not JSON"

    @classmethod
    def because(cls, error: ValueError) -> Self:
        """The error after a decoder's error."""
        detail = f"The body is not JSON: {error}."
        number = isinstance(error, JSONDecodeError) and error.doc[error.pos : error.pos + 8]
        if number and number.startswith(_NOT_FINITE):
            detail += " JSON has no NaN or Infinity; null stands for a missing value."
        return cls(detail)


class Unauthorized(RequestError):
    """The request has no API key, or an unknown one."""

    status = 401
    kind = "unauthorized"
    title = "Unauthorized"


class NotFound(RequestError):
    """There is no resource at this path."""

    status = 404
    kind = "not-found"
    title = "Not Found"


class NotAcceptable(RequestError):
    """The client accepts no form of the response that the service has."""

    status = 406
    kind = "not-acceptable"
    title = "Not acceptable"


class RequestTimeout(RequestError):
    """A part of the request did not arrive in time."""

    status = 408
    title = "Request took too long to arrive"
    part = ""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The error after a timeout of `seconds`."""
        return cls(f"The {cls.part} did not arrive within {seconds:g} seconds.", headers=_CLOSE)


class HeaderTimeout(RequestTimeout):
    """The headers did not arrive in time."""

    kind = "header-timeout"
    part = "headers"


class BodyTimeout(RequestTimeout):
    """The body did not arrive in time."""

    kind = "body-timeout"
    part = "body"


class BodyTooLarge(RequestError):
    """The body is larger than `SERVING_MAX_BODY_BYTES`."""

    status = 413
    kind = "body-too-large"
    title = "Body too large"

    @classmethod
    def over(cls, max_bytes: int) -> Self:
        """The error for a body of more than `max_bytes`."""
        return cls(f"The body is larger than {max_bytes} bytes.", headers=_CLOSE)


class URITooLong(RequestError):
    """The URL is longer than `SERVING_MAX_URL_BYTES`."""

    status = 414
    kind = "uri-too-long"
    title = "URL too long"


class UnsupportedMediaType(RequestError):
    """The content type is not JSON, or the content encoding is unsupported."""

    status = 415
    kind = "unsupported-media-type"
    title = "Unsupported media type"


class InvalidInput(RequestError):
    """The body is JSON but does not fit the model's signature."""

    status = 422
    kind = "invalid-input"
    title = "Input does not fit the model"


class HeadersTooLarge(RequestError):
    """The headers are more than `SERVING_MAX_HEADER_BYTES` or `SERVING_MAX_HEADER_FIELDS`."""

    status = 431
    kind = "headers-too-large"
    title = "Headers too large"


class QueueFull(RequestError):
    """The queue holds as many rows or requests as it may."""

    status = 503
    kind = "queue-full"
    title = "Too busy"


class BuffersFull(RequestError):
    """The connections hold as much as they may: `SERVING_MAX_BUFFERED_BYTES`."""

    status = 503
    kind = "buffers-full"
    title = "Too busy"

    @classmethod
    def retry(cls) -> Self:
        """The error, with the time after which a client may try again."""
        headers = {**_CLOSE, **retry_after()}
        return cls("Too many requests are being received.", headers=headers)


class OutOfMemory(RequestError):
    """The request needs more memory than the process may allocate."""

    status = 503
    kind = "out-of-memory"
    title = "Not enough memory"

    @classmethod
    def retry(cls) -> Self:
        """The error, with the time after which a client may try again."""
        problem = "There is not enough memory for this request now: send fewer rows."
        return cls(problem, headers=retry_after())


class Unavailable(RequestError):
    """The service is starting or draining."""

    status = 503
    kind = "unavailable"
    title = "Not available"


class DeadlineExceeded(RequestError):
    """There was no prediction within the deadline."""

    status = 504
    kind = "deadline-exceeded"
    title = "Deadline passed"


class PredictionFailed(RequestError):
    """The model failed. The log has the cause under the same id."""

    status = 500
    kind = "prediction-failed"
    title = "The model failed"


class NonFiniteOutput(PredictionFailed):
    """The model predicted a number that JSON cannot represent."""

    kind = "non-finite-output"
    title = "The model's output is not finite"
