"""The request that a piece of code works for, known without being passed on to it.

Every request has a task, and so a context, of its own. A thread that predicts works for several
requests at once and has none.
"""

from contextvars import ContextVar

from .trace_context import Trace


class RequestContext:
    """What log lines and spans say about a request.

    rows, model_version: of the predictions that it has asked for; 0 and empty before.
    """

    __slots__ = ("model_version", "request_id", "rows", "trace")

    def __init__(self, request_id: str, trace: Trace | None) -> None:
        self.request_id = request_id
        self.trace = trace
        self.rows = 0
        self.model_version = ""

    def log_fields(self) -> dict[str, object]:
        """The fields that every log line of the request has."""
        fields: dict[str, object] = {"request_id": self.request_id}
        if self.trace is not None:
            fields |= {"trace_id": self.trace.trace_id, "span_id": self.trace.span_id}
        if self.rows:
            fields |= {"rows": self.rows, "model_version": self.model_version}
        return fields


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


def trace_headers() -> dict[str, str]:
    """Headers that continue the trace of the current request in a request to another service.

    They are `traceparent` and, if the client sent one, `tracestate` (W3C Trace Context); empty if
    the request belongs to no trace.
    """
    context = current_request.get()
    if context is None or context.trace is None:
        return {}
    return context.trace.headers()
