"""The private APIs of other distributions that the engine uses, as a table.

They are not documented, so any release may change them. `engine/pyproject.toml` allows only those
minor releases of these distributions on which the tests have passed.
"""

from typing import NamedTuple


class PrivateAPI(NamedTuple):
    """Some names of one module, or some attributes and methods of one class.

    owner: the module, or the module and the class, as in "package.module:Class"; a class is private
    itself if its documentation does not mention it. files: the files of the engine that use them.
    """

    distribution: str
    owner: str
    names: tuple[str, ...]
    files: tuple[str, ...]
    reason: str


PRIVATE_APIS = (
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        ("app", "loop", "parser", "server_state", "tasks"),
        ("http/connection.py", "http/reader.py"),
        "The base class of a connection: its state.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        ("flow", "headers", "scope", "transport", "url"),
        ("http/connection.py", "http/reader.py"),
        "The state of the request that arrives, and of the transport.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        ("connection_lost", "shutdown"),
        ("http/connection.py",),
        "Overridden: timeouts, graceful shutdown, disconnects.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        ("on_body", "on_headers_complete", "on_message_begin", "on_message_complete"),
        ("http/connection.py",),
        "Overridden: limits of a request, pipelined requests.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        ("connection_made", "data_received", "on_header", "pause_writing", "resume_writing"),
        ("http/reader.py",),
        "Overridden: what is received is counted, and parsed in pieces.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl",
        ("STATUS_LINE",),
        ("http/cycle.py", "http/request_head.py"),
        "The encoded status line of every response.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.protocols.http.flow_control:FlowControl",
        ("drain", "pause_reading", "read_paused", "resume_reading", "write_paused"),
        ("http/cycle.py", "http/connection.py", "http/reader.py"),
        "Backpressure: a body that is not read, or a client that does not read.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.server:ServerState",
        ("connections", "default_headers"),
        ("http/connection.py", "http/reader.py", "process/server.py"),
        "Timeouts are checked for all connections; a drain adds `Connection: close`.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.server:Server",
        ("capture_signals", "handle_exit", "on_tick", "shutdown", "startup"),
        ("process/server.py", "process/worker.py"),
        "Overridden: the order of start and graceful shutdown; a worker handles no signals.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.server:Server",
        ("force_exit", "lifespan", "server_state", "servers", "should_exit", "started"),
        ("process/server.py", "process/worker.py"),
        "The state of the server; a worker that retires closes its listening sockets.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.config:Config",
        ("get_loop_factory", "lifespan_class", "load", "loaded_app"),
        ("process/server.py",),
        "The engine runs the lifespan itself, and imports the event loop before a fork.",
    ),
    PrivateAPI(
        "uvicorn",
        "uvicorn.supervisors",
        ("ChangeReload",),
        ("cli/code_reload.py",),
        "`serve --reload` starts the service anew when code changes.",
    ),
    PrivateAPI(
        "httptools",
        "httptools",
        ("HttpParserError", "HttpParserUpgrade"),
        ("cli/bench/client.py", "cli/bench/rows.py", "http/reader.py"),
        "The context of the first is the exception of a callback; the second has an offset.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.dependencies.models:Dependant",
        ("call", "dependencies", "name", "path", "request_param_name", "scope", "use_cache"),
        ("web/fast_route.py", "web/openapi.py"),
        "The tree of a route's dependencies is compiled; FastAPI handles any other field.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing:APIRoute",
        ("app", "dependant", "dependency_overrides_provider", "handle", "matches"),
        ("web/fast_route.py",),
        "A route that calls its compiled dependencies.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing:APIRoute",
        ("endpoint", "methods", "param_convertors", "path", "status_code"),
        ("web/fast_route.py", "web/short_way.py"),
        "A path without parameters is matched without its regular expression.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing",
        ("_FASTAPI_SCOPE_KEY", "request_response"),
        ("web/fast_route.py",),
        "To recognize a request through an included router; to make FastAPI's own handler.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing",
        ("_FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY", "_FASTAPI_SCOPE_KEY"),
        ("web/request_middleware.py",),
        "The path of a route includes the prefixes of the routers that include it.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.telemetry",
        ("_asgi",),
        ("web/short_way.py",),
        "The module of the next.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.telemetry._asgi:ExceptionTelemetryMiddleware",
        ("app",),
        ("web/short_way.py",),
        "A layer that the short way passes by.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi",
        ("_body_limit",),
        ("web/short_way.py",),
        "The module of the next.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi._body_limit:AppBodyLimitMiddleware",
        ("app",),
        ("web/short_way.py",),
        "A layer that the short way passes by.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.middleware.asyncexitstack:AsyncExitStackMiddleware",
        ("app",),
        ("web/short_way.py",),
        "A layer that the short way passes by.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi:FastAPI",
        ("_telemetry", "middleware_stack"),
        ("web/short_way.py",),
        "The layers of the application; telemetry of FastAPI's own takes the long way.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing:APIRouter",
        ("app", "form_limits", "middleware_stack", "routes"),
        ("web/short_way.py",),
        "The routes in their order; a router with layers or limits of its own takes the long way.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.middleware.errors:ServerErrorMiddleware",
        ("app",),
        ("web/short_way.py",),
        "A layer that the short way passes by.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.middleware.exceptions:ExceptionMiddleware",
        ("app",),
        ("web/short_way.py",),
        "A layer that the short way passes by, unless there is an exception.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing",
        ("iter_route_contexts",),
        ("web/openapi.py",),
        "All routes, including those of included routers.",
    ),
    PrivateAPI(
        "fastapi",
        "fastapi.routing:RouteContext",
        ("dependant", "methods", "name", "path_format"),
        ("web/openapi.py",),
        "The handler and the dependencies of every operation.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.routing",
        ("Match",),
        ("web/api_keys.py", "web/fast_route.py", "web/page.py"),
        "The result of a route's `matches`.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.routing:Route",
        ("matches",),
        ("web/page.py",),
        "Overridden: a page leaves its path to a route of the owner's.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.routing:Router",
        ("routes",),
        ("application.py", "web/swagger_ui.py"),
        "Routes are added to the application itself, without an included router, or removed.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.requests",
        ("ClientDisconnect",),
        ("web/problem_details.py",),
        "A client that disconnects while it sends is not an error.",
    ),
    PrivateAPI(
        "starlette",
        "starlette.requests:Request",
        ("_stream_consumed",),
        ("web/read_request.py",),
        "A body that was read past `stream` cannot be read again.",
    ),
    PrivateAPI(
        "pydantic-settings",
        "pydantic_settings:EnvSettingsSource",
        ("_load_env_vars",),
        ("setting_sources.py",),
        "Overridden: an unknown SERVING_ variable is an error.",
    ),
    PrivateAPI(
        "prometheus-client",
        "prometheus_client:CollectorRegistry",
        ("_collector_to_names",),
        ("telemetry/owner_metrics.py",),
        "The public methods return samples, and only a collector knows its aggregation.",
    ),
    PrivateAPI(
        "prometheus-client",
        "prometheus_client:Gauge",
        ("_multiprocess_mode", "_name"),
        ("telemetry/owner_metrics.py",),
        "The aggregation of a gauge over workers.",
    ),
    PrivateAPI(
        "scikit-learn",
        "sklearn.compose:ColumnTransformer",
        ("_sklearn_output_config",),
        ("runtimes/scikit_learn/prepare.py",),
        "A model that is called without names of columns returns arrays.",
    ),
    PrivateAPI(
        "scikit-learn",
        "sklearn.compose:ColumnTransformer",
        ("_transformer_to_input_indices",),
        ("runtimes/scikit_learn/column_path.py", "runtimes/scikit_learn/prepare.py"),
        "The positions of the columns that a step was fitted on, however it names them.",
    ),
    PrivateAPI(
        "scikit-learn",
        "sklearn.compose:ColumnTransformer",
        ("_columns", "_remainder"),
        ("build_model/portable.py",),
        "The columns that selectors found are written in place of the selectors.",
    ),
    PrivateAPI(
        "scikit-learn",
        "sklearn.utils",
        ("all_estimators",),
        ("runtimes/scikit_learn/skops_io.py",),
        "Public, but replaced while skops is imported: it imports all of scikit-learn.",
    ),
    PrivateAPI(
        "skops",
        "skops.io._trusted_types",
        ("all_estimators",),
        ("runtimes/scikit_learn/skops_io.py",),
        "The name by which skops imports and calls the replaced function.",
    ),
    PrivateAPI(
        "lightgbm",
        "lightgbm:LGBMModel",
        ("_fitted_with_feature_names",),
        ("runtimes/scikit_learn/prepare.py",),
        "A model that is called without names of columns must not warn.",
    ),
)
