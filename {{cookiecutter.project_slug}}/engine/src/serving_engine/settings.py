"""Every setting of the engine. Each is an environment variable: SERVING_ and the field's name.

A service adds its own settings in a subclass, and may change defaults there.
"""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import UsageError
from .setting_types import ApiKeys, LogFormat, LogLevel, Origins, RootPath

PREFIX = "SERVING_"

# Kubernetes sets these in every pod whose namespace has a service called `serving`.
_INJECTED = re.compile(r"SERVING_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_INJECTED_URL = re.compile(r"(tcp|udp|sctp)://")

# Variables that platforms set, and the fields that they are a fallback for.
_FALLBACKS = (("AIP_HTTP_PORT", "port"), ("PORT", "port"), ("WEB_CONCURRENCY", "workers"))

_MESSAGES = {
    "bool_parsing": "it must be true or false",
    "finite_number": "it must be a finite number",
    "float_parsing": "it must be a number",
    "greater_than": "it must be more than {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "int_from_float": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "less_than": "it must be less than {lt:g}",
    "less_than_equal": "it must be at most {le:g}",
    "literal_error": "it must be {expected}",
}
"""Our words for pydantic's errors; validators of settings have their own."""


class ServingSettings(BaseSettings):
    """The settings of the engine. A subclass adds settings and changes defaults.

    A field `page_size` is the variable SERVING_PAGE_SIZE. Settings are read once, with
    `load_settings`, and never change.
    """

    transformers: ClassVar[str | None] = None
    """Name of the module whose classes may be part of a packaged model; by default `transformers`
    beside the settings, if there is one."""

    model_class: ClassVar[str | None] = None
    """Module and name, with a colon between, of the class that is the model in the runtime
    `python`; by default `Model` of the module `model` beside the settings, if there is one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. Loopback exposes nothing; a container sets 0.0.0.0."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one and logs it. Falls back to AIP_HTTP_PORT and PORT."""

    workers: Annotated[int, Field(gt=0, le=256)] = 1
    """Worker processes. On Linux they share one copy of the model. Set one for each core that the
    service may use; the log has a memory report. Falls back to WEB_CONCURRENCY."""

    hang_timeout: Annotated[float, Field(ge=1)] = 8.0
    """Seconds that the event loop of a worker may hang before the worker is replaced. Used with
    several workers only; watch serving_worker_restarts_total."""

    load_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that loading the model may take in a reload, and with several workers also at start.
    A reload that takes longer fails, and the old model stays: a load that hangs must not block the
    next reload. Watch serving_model_load_seconds."""

    model_dir: Path = Path("model")
    """Directory with manifest.json and the artifact, relative to the working directory."""

    max_model_bytes: Annotated[int, Field(gt=0)] = 512 * 1024 * 1024
    """Largest artifact in bytes, on disk and expanded. Raise it for a larger model that you
    trust."""

    max_rows: Annotated[int, Field(gt=0)] = 1000
    """Most rows in one request. A large request delays all other clients."""

    max_body_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Largest request body; a larger one gets 413. 1 MiB holds 1,000 rows of about 100 numbers."""

    max_buffered_bytes: Annotated[int, Field(gt=0)] = 128 * 1024 * 1024
    """Most bytes that the connections of one worker hold together: requests until their response,
    and responses that their clients have not read. Beyond them a new request with a body gets 503,
    and the slowest connections are closed. One request of the largest size always fits. Keep it
    well below the memory limit; watch serving_buffered_bytes."""

    max_url_bytes: Annotated[int, Field(gt=0)] = 8192
    """Longest URL; a longer one gets 414."""

    max_header_bytes: Annotated[int, Field(gt=0)] = 16 * 1024
    """Most bytes of a request's URL and headers together; a larger request gets 431."""

    max_header_fields: Annotated[int, Field(gt=0)] = 100
    """Most headers of a request; a request with more gets 431."""

    header_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for a request's headers to arrive, from its first byte; a slower client gets 408. A
    new connection that sends no byte is closed after the same time."""

    body_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for a request body to arrive; a slower client gets 408."""

    keep_alive_timeout: Annotated[float, Field(gt=0)] = 75.0
    """Seconds that an idle connection stays open. Keep it longer than the load balancer's own
    (60 in most), or the load balancer sends requests on connections that are being closed."""

    request_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds from a parsed request to its response, queueing included; a later one is 504. A
    client may ask for less with X-Request-Timeout-Ms. Watch serving_queue_seconds before you
    raise it."""

    max_batch_rows: Annotated[int, Field(gt=0)] = 256
    """Most rows in one batch: requests that arrive while the model is busy share its next call. A
    request with more rows is not batched with others, and is predicted in pieces of 16 times this
    size. Watch serving_batch_rows: a p99 at this limit means that the model is saturated."""

    max_queued_rows: Annotated[int, Field(gt=0)] = 10_000
    """Most rows in the queue; a request beyond them gets 503 at once instead of a late 504."""

    max_queued_requests: Annotated[int, Field(gt=0)] = 1000
    """Most requests in the queue; a request beyond them gets 503 at once."""

    threads: Annotated[int, Field(gt=0)] = 1
    """Threads that predict. More than one slowed scikit-learn down in 10 of 12 cases measured. A
    model whose manifest does not record it as thread-safe always gets one."""

    inline_seconds: Annotated[float, Field(ge=0, le=0.1)] = 0.001
    """A model that predicts a full batch within this many seconds, measured at start, is called in
    the event loop, which costs less than handing the batch to a thread and back. That is only done
    with models whose time depends on the number of rows alone: linear models, trees and forests.
    All others run in a thread, and so does a model after its first slow call. 0 runs every model in
    a thread."""

    stuck_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which a call of the model is stuck: /readyz returns 503 until it ends, and with
    several workers the worker is replaced. The default is 12 times request_timeout. Watch
    serving_failed_threads."""

    drain_delay: Annotated[float, Field(ge=0)] = 5.0
    """Seconds from SIGTERM, when /readyz turns 503, until the service accepts no more connections:
    the time that a load balancer needs to notice. SIGINT (Ctrl-C) skips it."""

    drain_timeout: Annotated[float, Field(gt=0)] = 25.0
    """Seconds after drain_delay for requests in flight to finish. Keep the sum of both below the
    platform's limit for a graceful shutdown (Kubernetes: terminationGracePeriodSeconds, 30)."""

    watch: bool = False
    """Whether the service reloads the model when its manifest.json changes, as SIGHUP does. For
    development."""

    api_keys: ApiKeys = None
    """API keys, separated by commas. If set, every route but /livez and /readyz needs one of them,
    as `Authorization: Bearer KEY` or `X-API-Key: KEY`; set both the old and the new key while you
    rotate. Without keys the service authenticates no client: a proxy in front of it must."""

    cors_origins: Origins = ()
    """Origins whose pages may call the service from a browser (CORS), separated by commas, as
    https://app.example.org; * allows every origin. No cookies are allowed."""

    root_path: RootPath = ""
    """Prefix of the URL below which a proxy serves this service, as /models/iris. The proxy may
    remove it or pass it on. The links of /docs and the servers in /openapi.json have it."""

    docs: bool = True
    """Whether /openapi.json and the pages at /docs and / are served. /docs is Swagger UI, from the
    extra `docs`; it loads nothing from other hosts."""

    page: bool = True
    """Whether / is a page to try the model in a browser. There is none without `docs`, which it
    reads, and none where the service has a route of its own at /."""

    access_log: bool = True
    """Whether every request is logged, in one line."""

    log_format: LogFormat = "auto"
    """json for machines, text for people; auto is text on a terminal and json otherwise."""

    log_level: LogLevel = "info"
    """Lowest severity that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        fallbacks = {field: os.environ[name] for field, name in _fallback_variables().items()}
        return init_settings, _Variables(settings_cls), InitSettingsSource(settings_cls, fallbacks)


def _fallback_variables() -> dict[str, str]:
    """Return the variable of a platform that is a fallback for a field, where one is set."""
    variables: dict[str, str] = {}
    for name, field in _FALLBACKS:
        if os.environ.get(name):
            variables.setdefault(field, name)
    return variables


class _Variables(EnvSettingsSource):
    """The SERVING_ variables, except those that Kubernetes injects. An unknown one is an error."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {f"{PREFIX}{field}".upper() for field in self.settings_cls.model_fields}
        variables = {}
        for name, value in os.environ.items():
            if not name.startswith(PREFIX) or _INJECTED.fullmatch(name) or not _is_setting(name):
                continue
            if name not in known:
                suffixes = [each.removeprefix(PREFIX) for each in known]
                near = _near(name.removeprefix(PREFIX), suffixes, PREFIX)
                raise UsageError(
                    f"{name} is an unknown setting.{near} Remove it, or see `serve --help`."
                )
            variables[name.lower()] = value
        return variables


AnySettings = TypeVar("AnySettings", bound=ServingSettings)


def load_settings(kind: type[AnySettings], **arguments: object) -> AnySettings:
    """Read the settings: first `arguments` that are not None, then variables, then defaults.

    kind: `ServingSettings` or a subclass. Raises UsageError, one line, for an unknown SERVING_
    variable or an invalid value.
    """
    try:
        return kind(**{name: value for name, value in arguments.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = _source(str(first["loc"][0]), arguments)
        raise UsageError(f"{name} is invalid: {_must_be(first)}") from None


def _must_be(error: ErrorDetails) -> str:
    """What a value must be; the value itself may be a secret, and is not repeated."""
    kind = error["type"]
    if kind not in _MESSAGES:
        return error["msg"].removeprefix("Value error, ").rstrip(".") + "."
    context = error.get("ctx", {})
    choices = re.findall("'(.*?)'", str(context.get("expected", "")))
    return f"{_MESSAGES[kind].format(**context)}.{_near(str(error['input']).lower(), choices)}"


def _near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A question for the known name that is nearest to a wrong one, if one is near."""
    nearest = get_close_matches(name, list(known), 1)
    return "".join(f" Did you mean {prefix}{each}?" for each in nearest)


def _source(field: str, arguments: Mapping[str, object]) -> str:
    """Return the name of the argument or the variable that set a field."""
    variable = f"{PREFIX}{field}".upper()
    if arguments.get(field) is not None:
        return f"--{field.replace('_', '-')}"
    if not _is_setting(variable):
        return _fallback_variables().get(field, variable)
    return variable


def _is_setting(variable: str) -> bool:
    """Return whether a variable is set, and not by Kubernetes for a service of that name."""
    value = os.environ.get(variable)
    return value is not None and not (variable == "SERVING_PORT" and _INJECTED_URL.match(value))
