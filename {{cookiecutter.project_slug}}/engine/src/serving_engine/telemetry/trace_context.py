"""The trace that a request belongs to: W3C Trace Context, level 1."""

import random
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_TRACESTATE = re.compile(rb"[ -~]{1,512}")
_FIRST_VERSION = "00"
SAMPLED = 1
"""The bit of the flags that says that the caller records the trace."""


class Call(NamedTuple):
    """A prediction of a traced request, in seconds of `time.perf_counter`.

    queued: when its rows were queued. started: when the model was called, or its deadline passed.
    seconds: of the call. batch_rows: rows in the call; 0 if there was none.
    """

    queued: float
    started: float
    seconds: float
    batch_rows: int


class Trace:
    """The place of a request in its trace. Ids are hexadecimal digits, as in `traceparent`.

    recorded: whether the request is a span, with the id `span_id`, a child of `parent_id`; else
    `span_id` is that of the caller.
    """

    __slots__ = ("calls", "flags", "parent_id", "recorded", "span_id", "state", "trace_id")

    def __init__(self, trace_id: str, span_id: str, flags: int, state: str = "") -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.state = state
        self.recorded = False
        self.parent_id = ""
        self.calls: list[Call] = []

    def record(self) -> None:
        """Make the request a span of its own."""
        self.parent_id = self.span_id
        self.span_id = new_span_id()
        self.flags |= SAMPLED
        self.recorded = True

    def headers(self) -> dict[str, str]:
        """The headers that continue the trace."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"}
        return {**headers, "tracestate": self.state} if self.state else headers


class RequestSpan(NamedTuple):
    """A request of a trace that has just been completed.

    attributes: of its span. started, seconds: by `time.perf_counter`.
    """

    trace: Trace
    name: str
    attributes: Mapping[str, str | int]
    started: float
    seconds: float


def new_span_id() -> str:
    """A random id of a span, never zero."""
    return f"{random.randrange(1, 2**64):016x}"  # noqa: S311


def read_trace(traceparent: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """The trace that a caller continues; None if its header is invalid, and must be ignored."""
    found = _TRACEPARENT.fullmatch(traceparent.decode("latin-1"))
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == _FIRST_VERSION and rest is not None:
        return None
    states = [value for name, value in headers if name == b"tracestate"]
    state = b",".join(states) if states else b""
    text = state.decode() if state and _TRACESTATE.fullmatch(state) else ""
    return Trace(trace_id, parent_id, int(flags, 16), text)
