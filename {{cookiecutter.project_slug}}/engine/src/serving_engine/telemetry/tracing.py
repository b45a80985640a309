"""Traces: which requests are recorded as spans, and what OpenTelemetry's variables say.

A request that is not sampled costs one comparison, or reading its header if it has one. The spans
of one that is are made of times that are taken anyway, when its response is complete, and sent to
a collector by a thread of its own (`span_export.py`). OpenTelemetry's own instrumentation would
take twice as long as everything else that the service does for a request.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote
from uuid import uuid4

from .trace_context import SAMPLED, RequestSpan, Trace, read_trace

if TYPE_CHECKING:
    from .span_export import SpanExporter

FLUSH_TIMEOUT = 2.0
"""Most seconds that the end of the service waits for the last spans; less if the drain timeout ends
before."""
_LEAST_FLUSH = 0.2
_ALL = 2**64
_SAMPLERS = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
"""The share of the requests that a sampler records; None if OTEL_TRACES_SAMPLER_ARG says it."""
_PARENT_BASED = "parentbased_"
_DEFAULT_DELAY = 5000
_HTTP = "http/protobuf"

logger = logging.getLogger("traces")


class Tracer:
    """Decides which requests are recorded; it records none before `start`."""

    def __init__(self, service: str, version: str) -> None:
        """service, version: of the service, unless variables say something else."""
        self._service = service
        self._version = version
        self._exporter: SpanExporter | None = None
        self._share = 0
        """Of 2**64 traces that begin here, how many are recorded."""
        self._follows_parent = True
        self.samples = False
        """Whether requests are recorded whose caller traces nothing."""
        self.drain_until: float | None = None
        """When the drain timeout ends, by `time.monotonic`."""

    @property
    def dropped(self) -> int:
        """The number of recorded requests whose spans were not delivered."""
        return self._exporter.dropped if self._exporter is not None else 0

    def start(self) -> None:
        """Start the exporter if OpenTelemetry's variables name a collector.

        It is a thread, so a process that forks must not call this. What is wrong with a variable is
        logged, and is no reason not to serve.
        """
        variables = os.environ
        if _is_off(variables) or self._exporter is not None:
            return
        problem = _problem(variables)
        if problem:
            logger.warning("traces are off: %s", problem)
            return
        from .span_export import Collector, SpanExporter  # noqa: PLC0415 - a service without needs no client

        collector = Collector(
            _endpoint(variables),
            dict(_pairs(_otlp(variables, "HEADERS"))),
            gzip=_otlp(variables, "COMPRESSION") == "gzip",
            certificates=_otlp(variables, "CERTIFICATE"),
        )
        resource = _resource(variables, self._service, self._version)
        self._exporter = SpanExporter(collector, resource, _delay(variables))
        self._follows_parent, share = _sampler(variables)
        self._share = int(share * _ALL)
        self.samples = self._share > 0
        self._exporter.start()

    def begin(
        self, traceparent: bytes | None, headers: Sequence[tuple[bytes, bytes]]
    ) -> Trace | None:
        """The trace of a request; None if it belongs to none.

        traceparent: the header of the request.
        """
        trace = None if traceparent is None else read_trace(traceparent, headers)
        if trace is None:
            low = random.getrandbits(64)
            if low >= self._share:
                return None
            trace = Trace(f"{random.getrandbits(64):016x}{low:016x}", "", 0)
            trace.record()
        elif self._exporter is not None and self._is_sampled(trace):
            trace.record()
        return trace

    def _is_sampled(self, trace: Trace) -> bool:
        if self._follows_parent:
            return bool(trace.flags & SAMPLED)
        return int(trace.trace_id[16:], 16) < self._share

    def finish(self, span: RequestSpan) -> None:
        """Send the spans of a recorded request; it does not wait."""
        if self._exporter is not None:
            self._exporter.put(span)

    async def stop(self) -> None:
        """Send the last spans, and end the exporter; bounded in time."""
        if self._exporter is None:
            return
        seconds = FLUSH_TIMEOUT
        if self.drain_until is not None:
            seconds = min(seconds, max(self.drain_until - time.monotonic(), _LEAST_FLUSH))
        self._exporter.end(seconds)
        deadline = time.monotonic() + seconds
        while self._exporter.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


def _is_off(variables: Mapping[str, str]) -> bool:
    disabled = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = variables.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none"
    return disabled or none or not _endpoint(variables)


def _problem(variables: Mapping[str, str]) -> str:
    """What prevents traces, and the remedy; empty if nothing does."""
    endpoint = _endpoint(variables)
    protocol = _otlp(variables, "PROTOCOL") or _HTTP
    if protocol != _HTTP:
        return (
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, which is unsupported. Set "
            f"{_HTTP}, and the collector's port for that (4318 in most)."
        )
    if not endpoint.startswith(("http://", "https://")):
        return "OTEL_EXPORTER_OTLP_ENDPOINT is no URL of http or https."
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
        return (
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but a library is not installed: "
            "uv add 'serving-engine[trace]'"
        )
    return ""


def _otlp(variables: Mapping[str, str], name: str) -> str:
    """A variable of the exporter: that for traces, or that for everything."""
    prefix = "OTEL_EXPORTER_OTLP_"
    return variables.get(f"{prefix}TRACES_{name}") or variables.get(f"{prefix}{name}") or ""


def _endpoint(variables: Mapping[str, str]) -> str:
    """The URL for spans: the path is added to the variable that is not only for traces."""
    base = variables.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    own = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    return own or (f"{base}/v1/traces" if base else "")


def _sampler(variables: Mapping[str, str]) -> tuple[bool, float]:
    """Whether the caller's decision counts, and the share of the other requests to record."""
    name = variables.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    if name.removeprefix(_PARENT_BASED) not in _SAMPLERS:
        logger.warning("OTEL_TRACES_SAMPLER is unknown: all requests are recorded")
        return True, 1.0
    share = _SAMPLERS[name.removeprefix(_PARENT_BASED)]
    if share is None:
        try:
            share = float(variables.get("OTEL_TRACES_SAMPLER_ARG", "1"))
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            logger.warning("OTEL_TRACES_SAMPLER_ARG is no share from 0 to 1: it is taken as 1")
            share = 1.0
    return name.startswith(_PARENT_BASED), share


def _delay(variables: Mapping[str, str]) -> float:
    """Seconds between two requests to the collector."""
    text = variables.get("OTEL_BSP_SCHEDULE_DELAY", "")
    milliseconds = int(text) if text.isdecimal() else _DEFAULT_DELAY
    return max(milliseconds, 1) / 1000


def _resource(variables: Mapping[str, str], service: str, version: str) -> dict[str, str]:
    """What every span says about the process that made it."""
    resource = {
        "service.name": service,
        "service.version": version,
        "service.instance.id": str(uuid4()),
        **dict(_pairs(variables.get("OTEL_RESOURCE_ATTRIBUTES", ""))),
    }
    name = variables.get("OTEL_SERVICE_NAME")
    return {**resource, "service.name": name} if name else resource


def _pairs(text: str) -> list[tuple[str, str]]:
    """The values of `name=value,name=value`, percent-decoded."""
    items = (item.partition("=") for item in text.split(","))
    return [
        (unquote(name).strip(), unquote(value).strip()) for name, equal, value in items if equal
    ]
