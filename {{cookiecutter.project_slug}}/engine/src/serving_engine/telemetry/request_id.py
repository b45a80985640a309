"""The id of the request that the running task handles, for what has no access to its scope."""

from contextvars import ContextVar

current_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of a request."""
