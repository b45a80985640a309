"""The meaning of each status, for the OpenAPI document of every protocol."""

from collections.abc import Iterable

MEANINGS = {
    400: "Not JSON",
    401: "No API key, or an unknown one",
    404: "No model of this name and version",
    406: "No form of the response is acceptable",
    408: "Timeout: the body arrived too slowly",
    413: "Body too large",
    415: "Unsupported media type or content encoding",
    422: "Input does not match the model's signature",
    500: "Internal error; its id is that of the log line",
    503: "Queue, buffers or memory full, starting or draining; see Retry-After",
    504: "Deadline passed",
}

READING_ROWS = (400, 408, 413, 415, 422, 503, 504)
"""Error statuses of a route that reads rows and predicts."""
PROBING = (503,)
"""Error statuses of a readiness probe."""

INVALID_AS_400 = {422: 400}
"""Protocols other than the service's own have no 422: for input that does not match, it is 400."""


def describe(statuses: Iterable[int], replaced: dict[int, int] | None = None) -> dict[int, str]:
    """Return the meaning of each status; the meanings of two with one replacement are joined.

    replaced: statuses that the protocol replaces by another one.
    """
    meanings: dict[int, str] = {}
    for status in statuses:
        replacement = (replaced or {}).get(status, status)
        meaning = MEANINGS[status]
        if replacement in meanings:
            meanings[replacement] += f", or {meaning[0].lower()}{meaning[1:]}"
        else:
            meanings[replacement] = meaning
    return meanings
