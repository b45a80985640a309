"""Every setting of the engine. Each is an environment variable: SERVING_ and the field's name.

A service adds its own settings in a subclass, and may change defaults there.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import UsageError
from .setting_sources import PREFIX, Variables, fallback_variables, is_setting, near
from .setting_types import (
    ApiKeys,
    ColumnNames,
    HashKey,
    LogFormat,
    LogLevel,
    Networks,
    Origins,
    RecordFormat,
    RootPath,
)

CARD = "CARD.md"
"""The file in the model directory that `model card` writes, and `GET /model/card` returns."""

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
    All others run in a thread, and so does a model once its calls are slow again and again. 0 runs
    every model in a thread."""

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

    model_metrics: bool = True
    """Whether predictions are counted by label, with their scores, and nulls and values outside of
    the observed ranges by column. The labels are classes and columns of the manifest, at most 100
    of each. Watch serving_out_of_range_total and serving_null_values_total: when their share of
    the rows grows, the model is asked something else than it was made for."""

    access_log_per_second: Annotated[int, Field(gt=0)] | None = None
    """Most access log lines in a second, of one process, about requests that succeeded; the default
    is all. `skipped` in the next line tells how many were left out. Requests that failed (status
    400 and above) are always logged. Set it if serving_log_lines_dropped_total grows."""

    trusted_proxies: Networks = ()
    """Addresses or networks of the proxies in front of the service, separated by commas, as
    10.0.0.0/8. The client in logs and traces is the last address in their `X-Forwarded-For` or
    `Forwarded` that is none of them. From others, those headers do not count: anybody can send
    them."""

    log_format: LogFormat = "auto"
    """json for machines, text for people; auto is text on a terminal and json otherwise."""

    log_level: LogLevel = "info"
    """Lowest severity that is logged."""

    record_dir: Path | None = None
    """Directory for the record of requests: the rows, the predictions, the version of the model,
    the request id and the time. Without it nothing is recorded. Only the owner of the process may
    read the files. `model drift` compares them with what the model was packaged with. Watch
    serving_recorded_rows_total."""

    record_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of the requests that is recorded, taken at random."""

    record_rows_per_second: Annotated[int, Field(gt=0)] = 100
    """Most rows that the service records in a second, all workers together; of the rest it counts
    the rows alone. Watch serving_record_dropped_total."""

    record_file_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Largest file of the record; then the next one is begun."""

    record_files: Annotated[int, Field(gt=0)] = 16
    """Most files in the directory of the record, all workers together; the oldest are deleted. Set
    more than there are workers, as each writes a file of its own."""

    record_format: RecordFormat = "jsonl"
    """jsonl or parquet. Parquet needs pyarrow, and a kill loses the last rows, up to one file: a
    file of it is written at once when it is full, at 16 MiB at most, or when the service ends."""

    record_without: ColumnNames = ()
    """Columns that are not recorded, separated by commas."""

    record_hashed: ColumnNames = ()
    """Columns of which a keyed hash is recorded: equal values stay equal, and nobody without the
    key can try values. Needs record_hash_key."""

    record_hash_key: HashKey | None = None
    """The secret key for record_hashed, of at least 16 characters. Keep it: another key makes other
    hashes of the same values."""

    shadow_model_dir: Path | None = None
    """Directory of a second model, which sees the same rows off the path of the requests, in a
    thread of the lowest priority. Its predictions are compared and never returned. If it cannot be
    loaded or fails, the log says so and the service goes on. Watch serving_shadow_rows_total."""

    shadow_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Largest relative difference of a predicted number that counts as agreement, where a model
    predicts numbers and no labels."""

    shadow_queued_rows: Annotated[int, Field(gt=0)] = 1000
    """Most rows that wait for the shadow model; it does not see those beyond. Watch
    serving_shadow_dropped_total."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        fallbacks = {field: os.environ[name] for field, name in fallback_variables().items()}
        return init_settings, Variables(settings_cls), InitSettingsSource(settings_cls, fallbacks)


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
    return f"{_MESSAGES[kind].format(**context)}.{near(str(error['input']).lower(), choices)}"


def _source(field: str, arguments: Mapping[str, object]) -> str:
    """Return the name of the argument or the variable that set a field."""
    variable = f"{PREFIX}{field}".upper()
    if arguments.get(field) is not None:
        return f"--{field.replace('_', '-')}"
    if not is_setting(variable):
        return fallback_variables().get(field, variable)
    return variable
