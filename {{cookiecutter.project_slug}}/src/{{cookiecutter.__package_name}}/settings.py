"""Every knob of the service. Each is an environment variable: SERVING_ and the field's name."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import UsageError

PREFIX = "SERVING_"

# Kubernetes sets these in every pod beside a service that is called `serving`.
_INJECTED = re.compile(r"SERVING_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_INJECTED_URL = re.compile(r"(tcp|udp|sctp)://")

# Names that platforms use.
_FALLBACKS = (("AIP_HTTP_PORT", "port"), ("PORT", "port"), ("WEB_CONCURRENCY", "workers"))

# What a Bearer token may consist of (RFC 6750, section 2.1).
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SHORTEST_KEY = 16


def _split_keys(given: object) -> object:
    return given.split(",") if isinstance(given, str) else given


def _check_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < _SHORTEST_KEY or not _KEY.fullmatch(text):
        raise PydanticCustomError(
            "api_key",
            "every key needs at least 16 characters, of letters, digits and -._~+/ only; "
            "`openssl rand -hex 32` makes one",
        )
    return key


ApiKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_key)], ...] | None,
    NoDecode,
    BeforeValidator(_split_keys),
]


class Settings(BaseSettings):
    """What can be set, with the default that is used otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. Loopback exposes nothing; a container sets 0.0.0.0."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one and logs it. Falls back to AIP_HTTP_PORT and PORT."""

    workers: Annotated[int, Field(gt=0, le=256)] = 1
    """Processes that serve. On Linux they share one copy of the model. One for each core that the
    service may use; the log says what they take. Falls back to WEB_CONCURRENCY."""

    hang_timeout: Annotated[float, Field(ge=1)] = 8.0
    """Seconds for which the event loop of a worker may stand still before it is replaced. Only
    with several workers; watch serving_worker_restarts_total."""

    model_dir: Path = Path("model")
    """Directory with manifest.json and the artifact, relative to the working directory."""

    max_model_bytes: Annotated[int, Field(gt=0)] = 512 * 1024 * 1024
    """Largest artifact, on disk and expanded. Raise it for a larger model that you trust."""

    max_rows: Annotated[int, Field(gt=0)] = 1000
    """Most rows in one request. More make one caller's request everyone's delay."""

    max_body_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024
    """Largest request body. 1 MiB holds 1,000 rows of about 100 numbers; more gets 413."""

    max_url_bytes: Annotated[int, Field(gt=0)] = 8192
    """Longest URL; a longer one gets 414."""

    max_header_bytes: Annotated[int, Field(gt=0)] = 16 * 1024
    """Most bytes of a request's URL and headers together; more get 431."""

    max_header_fields: Annotated[int, Field(gt=0)] = 100
    """Most headers of a request; more get 431."""

    header_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for a request's headers to arrive, from its first byte; a client that is slower
    gets 408. A connection that never begins one is closed after as long."""

    body_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for a request body to arrive; a client that is slower gets 408."""

    keep_alive_timeout: Annotated[float, Field(gt=0)] = 75.0
    """Seconds that a connection stays open without a request. Longer than in the load balancer in
    front (60 in most), or it will send requests into connections that are just being closed."""

    request_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds from a parsed request to its answer, waiting included; later gets 504. A client may
    ask for less with X-Request-Timeout-Ms. Watch serving_queue_seconds before you raise it."""

    max_batch_rows: Annotated[int, Field(gt=0)] = 256
    """Most rows of requests that share a call of the model: those that wait while it is busy share
    the next. A larger request shares it with nobody, and is predicted in pieces of 16 times as
    many. Watch serving_batch_rows: a p99 at this limit says the model is saturated."""

    max_queued_rows: Annotated[int, Field(gt=0)] = 10_000
    """Most rows that wait; beyond them a request gets 503 at once instead of a late answer."""

    max_queued_requests: Annotated[int, Field(gt=0)] = 1000
    """Most requests that wait; beyond them a request gets 503 at once."""

    threads: Annotated[int, Field(gt=0)] = 1
    """Threads that predict. More than one slowed scikit-learn down in 10 of 12 cases measured;
    a model that was not found thread-safe gets one whatever this says."""

    inline_seconds: Annotated[float, Field(ge=0, le=0.1)] = 0.001
    """A model that answers a full batch within so many seconds, as measured at start, is called in
    the event loop: handing a batch to a thread and back would cost more. Slower models have a
    thread of their own, and so has one that turns out slower later; 0 gives every model one."""

    drain_delay: Annotated[float, Field(ge=0)] = 5.0
    """Seconds between SIGTERM, when /readyz turns 503, and the end of accepting connections: the
    time a load balancer needs to notice. SIGINT (Ctrl-C) skips it."""

    drain_timeout: Annotated[float, Field(gt=0)] = 25.0
    """Seconds for requests in flight to finish after that. With drain_delay it should stay under
    the platform's own limit (Kubernetes: terminationGracePeriodSeconds, 30)."""

    watch: bool = False
    """Whether the model is loaded anew, as on SIGHUP, whenever its manifest.json changes: for
    development."""

    api_keys: ApiKeys = None
    """Keys, separated by commas. With any, everything but /livez and /readyz needs one of them, as
    `Authorization: Bearer KEY` or `X-API-Key: KEY`; name the old and the new one while you
    replace it. Without, the service asks nobody: something in front of it must."""

    docs: bool = True
    """Whether /docs, /redoc and /openapi.json are served."""

    access_log: bool = True
    """Whether every request is logged in one line."""

    log_format: Annotated[str, Field(pattern="^(auto|json|text)$")] = "auto"
    """json for machines, text for people; auto is text on a terminal and json otherwise."""

    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    """Least severity that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        fallbacks: dict[str, str] = {}
        for name, field in _FALLBACKS:
            if os.environ.get(name):
                fallbacks.setdefault(field, os.environ[name])
        return init_settings, _Variables(settings_cls), InitSettingsSource(settings_cls, fallbacks)


class _Variables(EnvSettingsSource):
    """The SERVING_ variables, without those that Kubernetes injects; unknown ones are refused."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {f"{PREFIX}{field}".upper() for field in Settings.model_fields}
        own = {}
        for name, value in os.environ.items():
            injected_port = name == "SERVING_PORT" and _INJECTED_URL.match(value)
            if not name.startswith(PREFIX) or _INJECTED.fullmatch(name) or injected_port:
                continue
            if name not in known:
                raise UsageError(f"{name} is not a setting: remove it, or see `serve --help`.")
            own[name.lower()] = value
        return own


def load_settings(**given: object) -> Settings:
    """Read the settings: what is `given` (and not None), then variables, then defaults.

    Raises UsageError, one line, for an unknown SERVING_ variable or a value that does not fit.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise UsageError(f"{name} does not fit: {first['msg']}.") from None
