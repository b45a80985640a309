"""The guards: in which definition each stands, how it is broken, and the tests that notice."""

from dataclasses import dataclass

from .breaking import (
    Break,
    always,
    before,
    cut,
    ignoring,
    instead,
    never,
    swap,
    without,
    without_decorator,
)


@dataclass(frozen=True)
class Guard:
    """Something in a definition that protects the service.

    definition: its qualified name. module: the name of its file, without the ending, where several
    files define that name. tests: names of files, likewise.
    """

    name: str
    definition: str
    broken: Break
    tests: tuple[str, ...]
    module: str | None = None


def guard(
    name: str, definition: str, broken: Break, *tests: str, module: str | None = None
) -> Guard:
    """A guard with any number of tests."""
    return Guard(name, definition, broken, tests, module)


GUARDS = [
    # The model: what is loaded, when, and by whom.
    guard("hash check", "verify_content", never("compare_digest"), "test_load"),
    guard("artifact size cap", "_check_size", never("max_bytes"), "test_load"),
    guard("exact size", "verify_content", never("size != record.size"), "test_load"),
    guard("golden examples", "build_model", without("check_examples"), "test_load"),
    guard(
        "zip checked before the parser",
        "ScikitLearnRuntime.read",
        without("check_zip"),
        "test_load",
    ),
    guard("verified copies", "_copy", without("verify_content"), "test_python_runtime"),
    guard(
        "copies that outlive the loader",
        "load_and_fork",
        without("detach"),
        "test_python_runtime",
    ),
    guard("copies that are deleted", "_remove", never("owner"), "test_python_runtime"),
    guard("classes of the owner's class", "check_classes", never("classes"), "test_python_runtime"),
    guard("shape of an answer", "_array", never("array.shape != shape"), "test_python_runtime"),
    guard("task of an answer", "to_outputs", never("signature.task"), "test_python_runtime"),
    guard(
        "ONNX model checked before the parser",
        "OnnxRuntime.read",
        without("check_model"),
        "test_onnx_runtime",
    ),
    guard(
        "weights in other files",
        "_refuse_external_data",
        never("_EXTERNAL_DATA"),
        "test_onnx_runtime",
    ),
    guard("nested graphs", "_refuse_external_data", never("MAX_DEPTH"), "test_onnx_runtime"),
    guard(
        "generated rows of a conversion",
        "_disagreement",
        without("check_equal"),
        "test_onnx_runtime",
    ),
    guard("order of classes", "_classification", never("expected != "), "test_onnx_runtime"),
    guard("expanded size", "_check_archive", never("left < 0"), "test_load"),
    guard("compression ratio", "_check_archive", never("compress_size"), "test_load"),
    guard("member names", "_check_name", ignoring('".."'), "test_load"),
    guard("reviewed types", "check_trusted", never("refused"), "test_load"),
    guard(
        "parts of scikit-learn that read or run",
        "_is_part_of_a_model",
        never("_NO_MODELS"),
        "test_estimator",
    ),
    guard("only what a module defines", "_defines", ignoring("__module__"), "test_estimator"),
    guard(
        "functions of NumPy that compute",
        "_is_numeric",
        swap("attribute in _NUMPY_FUNCTIONS", "True"),
        "test_estimator",
    ),
    guard("what pandas reads", "check_agreement", never("_same_cell"), "test_tables"),
    guard("texts that identify rows", "_check_may_be_closed", never("MOSTLY"), "test_tables"),
    guard("two columns of one name", "read_header", never("twice"), "test_tables"),
    guard("dates that exist", "_datetime", never("year not in"), "test_tables"),
    guard("booleans of a matrix", "NumberCheck.fits", never("boolean"), "test_open_inference"),
    # Files of rows.
    guard("run of a checkpoint", "Checkpoint.read", never("run.get"), "test_predict_file"),
    guard("whole partial result", "PartialFile._begin_at", never("size"), "test_predict_file"),
    guard("one writer of a result", "PartialFile._begin_at", without("flock"), "test_predict_file"),
    guard(
        "blocks that are done", "predict_file", swap("output.done.blocks", "0"), "test_predict_file"
    ),
    guard("records of several lines", "TableSource._join", always("text"), "test_predict_file"),
    guard("rows that fail alone", "Scorer._predict", always("len(values)"), "test_predict_file"),
    # Columns that Arrow reads.
    guard("quotes within a field", "table_columns", never("quoted and"), "test_predict_file"),
    guard("tabs around a number", "table_columns", never("_NUMERIC"), "test_predict_file"),
    guard("hexadecimal integers", "table_columns", never("0x"), "test_predict_file"),
    guard("other words for NaN", "_with_nulls", never("is_nan"), "test_predict_file"),
    guard("bounds of a column", "_check_numbers", never("fits.all"), "test_predict_file"),
    guard("null in a column of floats", "_as_cells", never("isnan"), "test_predict_file"),
    guard("scikit-learn's minor", "check_release", never("minor !="), "test_load"),
    guard("schema version", "_check_version", never("SCHEMA_VERSION"), "test_load"),
    guard("known formats", "find_runtime", never("path is None"), "test_load"),
    guard(
        "loaded once",
        "get_model",
        before(
            "return model",
            "from ..runtimes.load import load_model; load_model(request.app.state.settings)",
        ),
        "test_lifespan",
    ),
    guard(
        "loaded once by the owner's application",
        "create_app.lifespan",
        before("readiness.ready", "await load_and_warm(app, model)"),
        "test_service",
    ),
    guard(
        "dependency of the handler",
        "predict",
        instead("model.predict", "raise RuntimeError"),
        "test_service",
        "test_predict",
    ),
    guard(
        "overrides reach the fast route",
        "FastRoute.is_compiled",
        ignoring("dependency_overrides"),
        "test_fast_route",
    ),
    guard(
        "the fast route leaves to FastAPI what it does not support",
        "_is_supported",
        instead("getattr", "return True"),
        "test_fast_route",
    ),
    guard("own bits", "fast_path", never("array_equal"), "test_fast_paths"),
    # Requests.
    guard("unknown columns", "RequestParser.check", never("len(row)"), "test_errors"),
    guard(
        "finite and within float32",
        "_float",
        cut(", allow_inf_nan=False, ge=low, le=high"),
        "test_errors",
    ),
    guard("numbers only", "_float", cut("strict=True,"), "test_errors"),
    guard("row limit", "_body_validator", cut("max_length=max_rows,"), "test_errors"),
    guard(
        "first bad row only",
        "_body_validator",
        cut(", fail_fast=True"),
        "test_errors",
        "test_requests",
    ),
    guard(
        "error cap",
        "unknown_members",
        swap("islice(unknown, MAX_ERRORS)", "unknown"),
        "test_errors",
        "test_requests",
    ),
    guard("answer size", "problem", never("MAX_BYTES"), "test_errors", "test_requests"),
    guard("length of names", "pointer", cut("[:MAX_NAME]"), "test_errors", "test_requests"),
    guard(
        "input echo",
        "_error_message",
        instead("_MESSAGES", 'message = f"{kind} {context} {location}"'),
        "test_errors",
        "test_requests",
    ),
    guard("declared body size", "read_request", never("declared"), "test_requests"),
    guard("true body size", "_read_body", never("size > limit"), "test_errors", "test_requests"),
    guard("rows of one call", "Batcher._call_model", always("split"), "test_batcher"),
    guard("rows that belong together", "Batcher._call_model", ignoring("split"), "test_batcher"),
    guard("body deadline", "RequestResponseCycle._wait", without("_too_slow"), "test_connection"),
    guard(
        "size of any body",
        "RequestResponseCycle._take_body",
        never("body_bytes"),
        "test_connection",
    ),
    guard(
        "headers that are two",
        "RequestResponseCycle._start_response",
        ignoring("_INVALID_VALUE"),
        "test_connection",
    ),
    guard(
        "endless answers hear of the end",
        "RequestResponseCycle.send",
        without("sleep"),
        "test_connection",
    ),
    guard("size of headers", "check_head", ignoring("header_bytes"), "test_connection"),
    guard("number of headers", "check_head", ignoring("header_fields"), "test_connection"),
    guard("length of the URL", "check_head", ignoring("url_bytes"), "test_connection"),
    guard("one Host", "check_head", never("hosts > 1"), "test_connection"),
    guard(
        "size of headers that do not end",
        "Reader._parse",
        never("_head_bytes >"),
        "test_connection",
    ),
    guard("time of a connection", "Connection.check_timeout", always("now <"), "test_connection"),
    guard(
        "clients that do not read",
        "Reader.pause_writing",
        instead("_write_deadline", "self._write_deadline = math.inf"),
        "test_connection",
    ),
    guard("lingering close", "Connection._close", never("can_write_eof"), "test_connection"),
    guard(
        "one answer to one request",
        "Connection._reject",
        never("elif cycle is not None"),
        "test_connection",
    ),
    guard(
        "declined upgrades",
        "Reader._parse",
        without("_ignore_upgrade"),
        "test_connection",
    ),
    guard(
        "no more requests are parsed than may wait",
        "Reader._may_parse",
        instead("MAX_PIPELINED", "return True"),
        "test_buffers",
    ),
    guard("memory for JSON", "load_json", without("reserve"), "test_memory"),
    guard("memory for rows", "RequestParser.check", without("_reserve"), "test_memory"),
    guard("memory for predictions", "Model.predict", without("reserve"), "test_memory"),
    guard(
        "encoded texts are no input",
        "decode_input",
        swap('content_type == "base64"', "False"),
        "test_open_inference",
    ),
    guard("memory for tensors", "write_response", without("reserve"), "test_open_inference"),
    guard(
        "a connection without memory",
        "Reader._parse",
        never("isinstance(cause, MemoryError)"),
        "test_memory",
    ),
    guard(
        "a model without memory",
        "Model.outputs",
        swap("(RequestError, MemoryError)", "RequestError"),
        "test_memory",
    ),
    guard(
        "what follows the requests that may wait is parsed later",
        "Reader._read_on",
        without("_parse_in_pieces"),
        "test_connection",
    ),
    guard(
        "trailers are no headers", "Reader.on_chunk_header", never("Trailers"), "test_connection"
    ),
    guard("number of trailers", "Trailers.append", ignoring("too_many"), "test_connection"),
    guard("size of chunk extensions", "Reader._parse", never("_framing >"), "test_connection"),
    guard(
        "bytes of all connections", "Reader.data_received", without("_make_room"), "test_buffers"
    ),
    guard("received bytes counted", "Reader.data_received", without("_held +="), "test_buffers"),
    guard("unread responses", "Reader.pause_writing", without("_make_room"), "test_buffers"),
    guard(
        "new requests beyond the buffers",
        "Connection.on_headers_complete",
        never("buffered_bytes"),
        "test_buffers",
    ),
    guard(
        "probes beyond the buffers",
        "Connection.on_headers_complete",
        ignoring("method not in"),
        "test_buffers",
    ),
    guard(
        "the slowest first",
        "close_slowest",
        swap("key=byte_seconds, reverse=True", "key=byte_seconds"),
        "test_buffers",
    ),
    guard(
        "one request always fits",
        "ConnectionLimits.of",
        swap("settings.max_header_bytes + settings.max_body_bytes", "0"),
        "test_buffers",
    ),
    guard("freed memory returned", "Server._check_timeouts", without("trim_heap"), "test_buffers"),
    guard(
        "requests before an invalid one are answered",
        "Connection._continue",
        never("_rejection is not None"),
        "test_connection",
    ),
    guard(
        "close beside an offer of an upgrade",
        "without_upgrade",
        swap('b"close" in tokens', "False"),
        "test_connection",
    ),
    guard("a host", "check_head", never("_is_host"), "test_connection"),
    guard("versions of HTTP", "check_head", never("_VERSIONS"), "test_connection"),
    guard(
        "the server's name",
        "configure",
        swap("server_header=False", "server_header=True"),
        "test_connection",
        module="server",
    ),
    guard(
        "forwarded headers",
        "configure",
        swap("proxy_headers=False", "proxy_headers=True"),
        "test_connection",
        module="server",
    ),
    guard(
        "a client cannot extend the deadline",
        "Model.outputs",
        swap("min(rows.timeout or self._timeout, self._timeout)", "rows.timeout or self._timeout"),
        "test_errors",
    ),
    guard("NaN named", "InvalidJSON.because", never("_NOT_FINITE"), "test_errors"),
    guard(
        "clients that left",
        "FastRoute.call",
        instead("CANCEL_ON_DISCONNECT", "scope[CANCEL_ON_DISCONNECT] = False"),
        "test_faults",
    ),
    guard("threads that hang", "PredictionThreads.close", cut("PATIENCE"), "test_faults"),
    guard("content type", "check_json", never("_JSON"), "test_errors"),
    guard("content encoding", "check_not_encoded", never('"content-encoding"'), "test_errors"),
    guard("request-id pattern", "_ids", ignoring("_REQUEST_ID"), "test_logs", "test_requests"),
    guard(
        "last safety net",
        "RequestMiddleware.__call__",
        instead("_error_response", "raise"),
        "test_errors",
    ),
    # Keys and logs.
    guard(
        "key compare",
        "RequireAPIKey._has_key",
        instead("compare_digest", "valid = True"),
        "test_api_keys",
    ),
    guard("keys installed", "install", never("api_keys"), "test_api_keys"),
    # The engine.
    guard("finite answers", "Batcher._outcomes_of", never("finite"), "test_errors"),
    guard("number of answers", "Batcher._outcomes_of", never("len(outputs)"), "test_batcher"),
    guard(
        "row bound of the queue",
        "Batcher._admit",
        instead("queued_rows", "too_many_rows = False"),
        "test_batcher",
    ),
    guard(
        "request bound of the queue", "Batcher._admit", ignoring("queued_requests"), "test_batcher"
    ),
    guard("row bound of a batch", "Batcher._next_batch", never("batch_rows"), "test_batcher"),
    guard(
        "cancelled and expired work", "Batcher._next_batch", never("outputs.done"), "test_batcher"
    ),
    guard(
        "deadline",
        "Batcher._start_timer",
        swap("call_at(job.deadline", "call_at(job.deadline + 60"),
        "test_batcher",
    ),
    guard(
        "poisoned batches are halved", "Batcher._outcomes_of", swap("== 1", ">= 1"), "test_batcher"
    ),
    guard(
        "deadline beside a large request",
        "Batcher.predict",
        cut("and self._free"),
        "test_batcher",
    ),
    guard("room of cancelled requests", "Batcher.predict", without("_leave_queue"), "test_batcher"),
    guard(
        "room of expired requests", "Batcher._on_deadline", without("_leave_queue"), "test_batcher"
    ),
    guard(
        "what is no Exception",
        "Batcher._outcomes_of",
        swap("except BaseException", "except Exception"),
        "test_batcher",
    ),
    guard(
        "what a future does not accept",
        "Batcher._outcomes_of",
        swap("as_exception(error)", "error"),
        "test_batcher",
    ),
    guard("lost threads", "PredictionThreads.failed", ignoring("is_alive"), "test_batcher"),
    guard("stuck threads", "PredictionThreads.failed", ignoring("started"), "test_errors"),
    guard("unready while stuck", "check_ready", never("failed_threads"), "test_errors"),
    guard(
        "a worker with a stuck model is replaced",
        "WorkerServer.tick",
        always("model_fails"),
        "test_faults",
    ),
    guard(
        "models that an input makes slow",
        "Model.__init__",
        swap("settings.inline_seconds if loaded.bounded else 0.0", "settings.inline_seconds"),
        "test_lifespan",
    ),
    guard(
        "finite settings",
        "ServingSettings.model_config",
        cut("allow_inf_nan=False,"),
        "test_settings",
    ),
    # Strangers in one batch.
    guard(
        "one type of a column in every batch",
        "_series",
        never("not mixed_nulls"),
        "test_row_independence",
    ),
    guard(
        "rows that belong together keep one call",
        "ScikitLearnRuntime.load",
        swap("not manifest.probes.row_independent", "False"),
        "test_row_independence",
    ),
    guard(
        "a copy of the batch for every method",
        "ServedEstimator._call",
        swap("batch.copy()", "batch"),
        "test_row_independence",
    ),
    guard(
        "memory of a model",
        "ServedEstimator._scores",
        swap("np.array", "np.asarray"),
        "test_row_independence",
    ),
    guard("unusual neighbours", "probe", swap("_mixed(rows, near)", "rows"), "test_packaging"),
    guard(
        "extreme neighbours",
        "probe",
        swap("extremes(signature, rows[0])", "[]"),
        "test_packaging",
    ),
    guard(
        "slow calls leave the event loop",
        "Batcher._run_inline",
        without("inline_seconds = 0.0"),
        "test_batcher",
    ),
    guard("a page only where no other route is", "OpenRoute.matches", never("any("), "test_page"),
    guard(
        "the pages are what needs no key",
        "RequireAPIKey._is_open",
        ignoring("route.matches"),
        "test_page",
    ),
    # Swagger UI, the start on a terminal, dashboards and alerts.
    guard(
        "no page of FastAPI's, which loads from other hosts",
        "remove_fastapi_pages",
        swap("app.docs_url", "None"),
        "test_swagger_ui",
    ),
    guard(
        "no Swagger UI without its files",
        "swagger_ui_routes",
        swap("_say_what_is_missing", "_send_file"),
        "test_swagger_ui",
    ),
    guard(
        "a line end after an answer",
        "FastRoute.encode",
        swap("orjson.OPT_APPEND_NEWLINE", "0"),
        "test_requests",
    ),
    guard(
        "names of operations that differ",
        "_name_operations",
        never("name in paths"),
        "test_openapi",
    ),
    guard(
        "ids of operations that the owner chose",
        "_name_operations",
        never("upper()"),
        "test_openapi",
    ),
    guard(
        "scripts of a page by their hash",
        "_policy",
        swap('_hash_of(b"script", html)', "\"'unsafe-inline'\""),
        "test_page",
        "test_swagger_ui",
    ),
    # The process.
    guard("unready while draining", "Server.report_not_ready", without("drain"), "test_server"),
    guard("drain delay", "Server.shutdown", never("_drain_until"), "test_server"),
    guard(
        "connections are told to close",
        "Server.shutdown",
        without("default_headers"),
        "test_server",
    ),
    guard(
        "requests on their way at the end of a drain",
        "Connection.shutdown",
        never("self._used"),
        "test_server",
    ),
    guard("exit code of a failed start", "StartupError.exit_code", swap("3", "1"), "test_startup"),
    guard("waiting rows shown", "Batcher.predict", without("_metrics.queued_rows"), "test_batcher"),
    guard(
        "a cut request is not a client that left",
        "RequestMiddleware.__call__",
        always("CLIENT_DISCONNECTED"),
        "test_faults",
    ),
    guard("unknown settings", "Variables._load_env_vars", never("known"), "test_settings"),
    guard(
        "listening only when ready",
        "bind",
        before("return listener", "listener.listen()"),
        "test_startup",
    ),
    # Several workers, and other models.
    guard(
        "several workers need Linux", "_serve_with_workers", never('"linux"'), "test_other_systems"
    ),
    guard(
        "metrics of the owner that cannot be shared",
        "Metrics.share",
        without("check_can_be_shared"),
        "test_owner_metrics",
    ),
    guard(
        "a fallen worker is replaced",
        "Supervisor._on_worker_exit",
        without("start_worker"),
        "test_workers",
    ),
    guard(
        "a failed load ends the start with code 3",
        "Supervisor._on_start_failed",
        swap("exit(code)", "exit(0)"),
        "test_workers",
    ),
    guard("signals are the supervisor's", "fork", swap("SIG_IGN", "SIG_DFL"), "test_workers"),
    guard("workers drain when ordered", "WorkerServer.tick", never("should_exit"), "test_workers"),
    guard(
        "a full pipe stops nothing",
        "nonblocking_writer",
        swap("O_WRONLY | os.O_NONBLOCK", "O_WRONLY"),
        "test_log_handler",
    ),
    guard(
        "nothing follows a part of a line",
        "LogHandler.emit",
        instead("self._rest = line", 'self._rest = b""'),
        "test_log_handler",
    ),
    guard(
        "dropped lines are counted",
        "LogHandler.emit",
        swap("except OSError: self.dropped += 1", "except OSError:\n            pass"),
        "test_log_handler",
    ),
    guard(
        "standard streams that are closed",
        "run_command_line",
        without("open_standard_streams"),
        "test_log_handler",
    ),
    guard(
        "signals during the imports",
        "run_command_line",
        never("serve"),
        "test_startup",
    ),
    guard(
        "a host that is no name", "bind", swap("(OSError, ValueError)", "OSError"), "test_startup"
    ),
    guard(
        "nothing listens before all workers are warm",
        "Generation.start_worker",
        swap("Command.WAIT", "Command.SERVE"),
        "test_supervision",
    ),
    guard(
        "a worker that is killed while others start is replaced",
        "Supervisor._on_worker_exit",
        ignoring("code == StartupError.exit_code"),
        "test_supervision",
    ),
    guard(
        "an endless start",
        "Supervisor._on_worker_exit",
        never("CRASH_LOOP_COUNT"),
        "test_supervision",
    ),
    guard(
        "a loader that hangs",
        "Generation.loader_fails",
        never("silence > hang_timeout"),
        "test_supervision",
    ),
    guard(
        "connections that wait for a dead worker",
        "Supervisor._reject_connections",
        without("SHUT_RDWR"),
        "test_supervision",
    ),
    guard(
        "a load that hangs with several workers",
        "Generation.loader_fails",
        never("load_timeout"),
        "test_supervision",
    ),
    guard(
        "a load that hangs with one process",
        "Reloader._replace",
        swap("settings.load_timeout\n            )", "None)"),
        "test_supervision",
    ),
    guard(
        "a pipe that nobody writes to",
        "_open",
        swap("| _WITHOUT_WAITING", ""),
        "test_load",
        module="regular_file",
    ),
    guard("regular files only", "open_regular", never("S_ISREG"), "test_load"),
    guard(
        "a copy that is not complete",
        "ManifestWatch.changed",
        swap("self._files_agree(now) or", "True or"),
        "test_manifest_watch",
    ),
    guard(
        "no room for another process",
        "Supervisor._start_generation",
        swap("except OSError", "except KeyError"),
        "test_supervision",
    ),
    guard(
        "a system without /proc",
        "other_threads",
        swap("except OSError", "except KeyError"),
        "test_supervision",
    ),
    guard(
        "a hung worker",
        "Supervisor._check_hangs",
        without("kill(worker.slot.pid)"),
        "test_supervision",
    ),
    guard("processes end with the supervisor", "fork", without("_die_with"), "test_supervision"),
    guard(
        "the end of a crash loop",
        "Supervisor._on_crash_loop",
        instead("raise CrashLoop", "return"),
        "test_supervision",
    ),
    guard(
        "work beyond the grace period",
        "Supervisor._check_draining",
        without("generation.kill"),
        "test_supervision",
    ),
    guard(
        "the variable that was set",
        "_source",
        swap("fallback_variables().get(field, variable)", "variable"),
        "test_settings",
        module="settings",
    ),
    guard("a space between keys", "_check_key", never("isspace"), "test_settings"),
    guard(
        "what a worker counted outlives it",
        "Metrics.publish",
        without("_inherited"),
        "test_scoreboard",
    ),
    guard(
        "what it counted for the owner does too",
        "Metrics.publish",
        swap("self._inherited_of_owner", "[]"),
        "test_owner_metrics",
    ),
    guard(
        "what a dead worker held does not",
        "Metrics._of_all_workers",
        always("alive"),
        "test_scoreboard",
    ),
    guard(
        "a port is not shared with another service",
        "bind",
        instead(
            "allow_reuse(listener, reuse)",
            "listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)",
        ),
        "test_startup",
    ),
    guard("collector at work", "freeze_heap", without("gc.enable"), "test_heap"),
    guard(
        "freed memory is kept for the next large request",
        "tune_malloc",
        without("_TRIM_THRESHOLD"),
        "test_heap",
    ),
    guard(
        "errors before a request are worded as their path has them",
        "Connection._write_final",
        swap("_format_error(error, path)", '_format_error(error, "")'),
        "test_connection",
    ),
    guard(
        "the walk through scikit-learn is left out",
        "_import_skops",
        without("= list"),
        "test_skops_io",
    ),
    guard(
        "only public estimators are trusted unnamed",
        "_is_public_estimator",
        ignoring("attribute"),
        "test_skops_io",
    ),
    guard(
        "binary data that the body does not have",
        "_Raw.take",
        never("size >"),
        "test_open_inference",
    ),
    guard("freeze", "freeze_heap", without("gc.freeze"), "test_heap"),
    guard(
        "reload swap",
        "Reloader._replace",
        without("self._state.model = new"),
        "test_reload",
    ),
    guard(
        "a reload takes as much as before",
        "Reloader._replace",
        without("check_accepts_as_much"),
        "test_reload",
    ),
    guard("columns keep their order", "check_accepts_as_much", never("was.name"), "test_reload"),
    # Signatures of mixed columns, and packaging.
    guard(
        "whole numbers in their bounds",
        "_integer",
        swap("int_schema(ge=low, le=high)", "int_schema()"),
        "test_openapi",
    ),
    guard(
        "booleans only",
        "_VALUE_SCHEMAS",
        swap("bool_schema(strict=True)", "bool_schema()"),
        "test_openapi",
    ),
    guard("known values", "_column_schema", never("column.allowed"), "test_openapi"),
    guard(
        "nesting outside of strings",
        "RequestParser.exceeds_containers",
        ignoring("_outside_strings"),
        "test_requests",
    ),
    guard(
        "libraries of the model",
        "check_libraries",
        instead("LibraryMissing", "continue"),
        "test_load",
    ),
    guard(
        "null is asked for",
        "accepted_columns",
        swap("position in nullable", "True"),
        "test_examples",
    ),
    guard(
        "unseen values are asked for",
        "accepted_columns",
        never("position in enforced"),
        "test_examples",
    ),
    guard(
        "the owner's own answers", "verified_candidate", never("predictions_agree"), "test_examples"
    ),
    guard("review of types", "_check_review", never("review"), "test_packaging"),
    guard("check before it replaces", "_publish", without("check"), "test_examples"),
    guard("the replaced model is kept", "_publish", without("_keep"), "test_examples"),
    guard(
        "an object that is no model",
        "read_estimator",
        never("found := cannot_predict"),
        "test_packaging",
    ),
    guard(
        "a pointer or a page in place of a model",
        "read_estimator",
        never("problem := wrong_content"),
        "test_packaging",
    ),
    guard(
        "the cell that is rejected",
        "_rejected_cells",
        never("_succeeds(estimator, method, _with(example, {position: value}))"),
        "test_packaging",
    ),
    guard("a pointer in place of rows", "check_content", never("_NO_ROWS"), "test_examples"),
    guard("what an image would lack", "check_dependencies", never("commands"), "test_examples"),
    guard("a killed package", "_publish", without("_remove_stale"), "test_packaging"),
    guard("probes again", "report_lines", never("recorded and not"), "test_examples"),
    # The download.
    guard("hash of the download", "Fetch.receive", always("_sha256"), "test_download"),
    guard("length of the download", "Fetch.attempt", never("after >"), "test_download"),
    guard("scheme of every hop", "Fetch.download", never("schemes"), "test_download"),
    guard(
        "authorization stays with its host", "Fetch.download", always("urlsplit"), "test_download"
    ),
    guard(
        "deadline of the download",
        "Fetch.next_of",
        swap("deadline", "deadline + 5"),
        "test_download",
    ),
    # The homes of models.
    guard(
        "another model at the same URL",
        "ObjectStore.push",
        never("there not in"),
        "test_remote",
    ),
    guard("sizes before the manifest", "ObjectStore._write", never("_complete"), "test_remote"),
    guard(
        "the quicker push wins",
        "ObjectStore._write",
        swap('"create" if new', '"overwrite" if new'),
        "test_remote",
    ),
    guard(
        "a push has a deadline",
        "push_model",
        swap("transfer.next_of(steps)", 'next(steps, "")'),
        "test_remote",
    ),
    guard(
        "secrets of a signed URL",
        "_Transfer.explain",
        swap('re.sub(r"\\?\\S*", "", str(error))', "str(error)"),
        "test_remote",
    ),
    # Open Inference.
    guard(
        "errors in the protocol's own form",
        "error_response",
        never("handles"),
        "test_open_inference",
    ),
    guard(
        "400 for what does not fit",
        "status_of",
        instead("INVALID_AS_400", "return error.status"),
        "test_open_inference",
    ),
    guard(
        "errors below the path", "Protocol.handles", ignoring("startswith"), "test_open_inference"
    ),
    guard("length of an error", "short_text", cut("[:MAX_TEXT]"), "test_open_inference"),
    guard("id of the log line", "error_sentence", never("request_id"), "test_open_inference"),
    guard("id echoed", "write_response", never("request.id"), "test_open_inference"),
    guard("id never invented", "write_response", always("request.id"), "test_open_inference"),
    guard("nested data", "_flatten", never("isinstance"), "test_open_inference"),
    guard("shape of nested data", "_flatten", never("len(part)"), "test_open_inference"),
    guard("size of data", "_flatten", never("prod"), "test_open_inference"),
    guard(
        "JSON of a datatype",
        "from_json",
        ignoring("_JSON_TYPES"),
        "test_open_inference",
        module="datatypes",
    ),
    guard(
        "BF16 in JSON", "from_json", ignoring('"BF16"'), "test_open_inference", module="datatypes"
    ),
    guard("size of raw bytes", "from_bytes", never("itemsize"), "test_open_inference"),
    guard("bytes of BOOL", "from_bytes", never('"BOOL"'), "test_open_inference"),
    guard("little-endian lengths", "_LENGTH", swap('"<I"', '">I"'), "test_open_inference"),
    guard("number of strings", "_strings", never("len(texts)"), "test_open_inference"),
    guard("datatype of a column", "_check_datatype", never("accepted"), "test_open_inference"),
    guard("shape of a column", "Tensors._by_name", never("column.shape"), "test_open_inference"),
    guard(
        "names of tensors",
        "Tensors._by_name",
        swap(
            "missing or len(by_name) != len(tensors) or len(by_name) != len(self.columns)",
            "missing",
        ),
        "test_open_inference",
    ),
    guard("rows of tensors", "Tensors._check_size", never("rows"), "test_open_inference"),
    guard("finite tensors", "Tensors._check_values", without("_misfit"), "test_open_inference"),
    guard(
        "missing values where they may be",
        "NumberCheck.fits",
        cut("& self._nullable"),
        "test_open_inference",
    ),
    guard(
        "enforced values in tensors",
        "Tensors.__init__",
        ignoring("complete"),
        "test_open_inference",
    ),
    guard("known outputs", "_requested_outputs", never("not in known"), "test_open_inference"),
    guard("selected outputs", "_requested_outputs", always('"outputs"'), "test_open_inference"),
    guard(
        "binary_data before binary_data_output",
        "_requested_outputs",
        always("output_binary is None"),
        "test_open_inference",
    ),
    guard(
        "binary_data_output",
        "_requested_outputs",
        swap('"binary_data_output"', '"binary"'),
        "test_open_inference",
    ),
    guard(
        "extensions that are not spoken",
        "_requested_outputs",
        never("unsupported"),
        "test_open_inference",
    ),
    guard(
        "length of the JSON", "parse_request", never("length > len(body)"), "test_open_inference"
    ),
    guard("raw bytes announced", "_Raw.take", never("_announced"), "test_open_inference"),
    guard("too many raw bytes", "_Raw.end", never("_rest"), "test_open_inference"),
    guard("data or raw bytes", "_tensor", never('"data"'), "test_open_inference"),
    guard("known datatypes", "_tensor", never("DATATYPES"), "test_open_inference"),
    guard("one input without JSON", "_raw", never("tensors.inputs"), "test_open_inference"),
    guard("flood of tensors", "_decode", never("exceeds_containers"), "test_open_inference"),
    guard(
        "timeout in microseconds",
        "_MICROSECONDS",
        swap("1_000_000", "1_000"),
        "test_open_inference",
    ),
    guard(
        "the shorter of two timeouts",
        "get_inference",
        ignoring(">= timeout"),
        "test_open_inference",
    ),
    guard("expanded body", "expand", never("max_bytes"), "test_open_inference"),
    guard("whole compressed body", "expand", always("eof"), "test_open_inference"),
    guard(
        "encodings",
        "expand",
        swap("encoding not in", 'encoding != b"br" and encoding not in'),
        "test_open_inference",
    ),
    guard(
        "health bodies",
        "ready",
        cut(', "ready": True'),
        "test_open_inference",
        module="routes",
    ),
    guard(
        "not ready while draining",
        "check_ready",
        never("reason is not None"),
        "test_open_inference",
    ),
    guard("name in the path", "get_named_model", never("manifest.name"), "test_open_inference"),
    guard(
        "version in the path", "get_named_model", never("manifest.version"), "test_open_inference"
    ),
    guard("path with a version", "infer", without_decorator("VERSION"), "test_open_inference"),
    guard(
        "/v2/ as well as /v2",
        "server",
        without_decorator("include_in_schema"),
        "test_open_inference",
    ),
    guard(
        "probes without a key",
        "probes",
        instead("_PROBES", "return _PROBES"),
        "test_open_inference",
    ),
    guard("protocol in the metrics", "install", without("labels"), "test_open_inference"),
    guard(
        "prefixes of included routers in the metrics",
        "_route_template",
        swap("included or scope", "scope"),
        "test_metrics",
    ),
    guard("the prefix of a proxy", "install", without("root_path"), "test_proxy_and_browser"),
    guard("allowed origins", "install", without("_allow_origins,"), "test_proxy_and_browser"),
    guard(
        "origins of internal errors",
        "install",
        swap("_allow_origins(", "(lambda response, _: response)("),
        "test_proxy_and_browser",
    ),
    guard("form of an origin", "_check_origin", never("_ORIGIN"), "test_proxy_and_browser"),
    # MLflow, SageMaker, Vertex AI.
    guard(
        "exactly one of four keys",
        "from_json",
        swap("len(forms) != 1", "not forms"),
        "test_mlflow",
        module="inputs",
    ),
    guard("key dataframe_records", "FORMS", cut('"dataframe_records",'), "test_mlflow"),
    guard("key instances", "FORMS", cut('"instances",'), "test_mlflow"),
    guard("key inputs", "FORMS", cut(', "inputs"'), "test_mlflow"),
    guard(
        "key dataframe_split",
        "from_json",
        never('"dataframe_split"'),
        "test_mlflow",
        module="inputs",
    ),
    guard("columns by name", "_reordered", always("columns"), "test_mlflow"),
    guard("params", "from_json", never('get("params")'), "test_mlflow", module="inputs"),
    guard("body of ping", "ping", instead("return", 'raise InvalidInput("no")'), "test_mlflow"),
    guard(
        "MLflow's errors",
        "_format_error",
        swap('"error_code": code, "message"', '"error"'),
        "test_mlflow",
    ),
    guard(
        "parameters of the content type",
        "content_type_of",
        never("_PARAMETERS"),
        "test_mlflow",
        "test_sagemaker",
    ),
    guard(
        "the form that the client accepts",
        "get_response_form",
        instead("return response_form", 'return "application/json"'),
        "test_sagemaker",
    ),
    guard("no form that is not accepted", "response_form", never("_quality"), "test_sagemaker"),
    guard("length of an array", "read_npy", never("prod(shape)"), "test_sagemaker"),
    guard("bounded header of an array", "read_npy", ignoring("MAX_HEADER"), "test_sagemaker"),
    guard("texts of an array", "read_npy", never("maxunicode"), "test_sagemaker"),
    guard("CSV without a header", "from_csv", never("header is None"), "test_mlflow"),
    guard("members of input_data", "get_input_data", never("keys()"), "test_azure"),
    guard(
        "routes from the environment",
        "_route",
        swap("os.environ.get(variable)", 'os.environ.get(variable) and "/" + variable'),
        "test_vertex",
    ),
    guard("route that is a path", "_route", never("_ROUTE"), "test_vertex"),
    guard(
        "port of the environment", "_FALLBACKS", cut('("AIP_HTTP_PORT", "port"),'), "test_vertex"
    ),
    guard(
        "parameters of Vertex AI",
        "get_instances",
        swap("(None, {})", '(None, {}, {"a": 1})'),
        "test_vertex",
    ),
    # bench: what it says of a service.
    guard(
        "answers are compared", "Connection.ask", always("is_right"), "test_bench", module="client"
    ),
    guard(
        "latency from when a request was due",
        "Connection.ask",
        swap("time.perf_counter() - due", "0.0"),
        "test_bench",
        module="client",
    ),
    guard("a client at its limit", "Run.limited_by_client", swap("0.99", "0.5"), "test_bench"),
    # plan: what holds when a replica is lost, and the rules of the batcher.
    guard("a replica to lose", "compute_plan", swap("survivors + 1", "survivors"), "test_plan"),
    guard("a p99 that cannot be had", "_largest_rate", never("keeps(_IDLE)"), "test_plan"),
    guard("memory for one worker", "_workers", never("need > goal.memory"), "test_plan"),
    guard(
        "a queue that is simulated",
        "_Core._is_full",
        swap("waiting >= limits.queued_requests", "False"),
        "test_plan",
    ),
    guard("deadlines that are simulated", "_Core._dispatch", without("self._expire"), "test_plan"),
    # Traces, metrics and logs: bounded, never forged, never in the way of a request.
    guard(
        "bounded labels",
        "ModelMetrics._keys",
        swap("names[:MAX_LABELS]", "names"),
        "test_model_metrics",
    ),
    guard(
        "labels without line ends",
        "ModelMetrics._keys",
        swap("printable(name)", "name"),
        "test_model_metrics",
    ),
    guard(
        "warm-up not counted",
        "Model.__init__",
        swap("Metrics(),", "metrics,"),
        "test_model_metrics",
    ),
    guard(
        "counting that fails",
        "ModelMetrics._count_or_end",
        swap("except Exception", "except KeyError"),
        "test_model_metrics",
    ),
    guard("trusted proxies", "client_address", never("_is_trusted"), "test_client_address"),
    guard(
        "headers that disagree",
        "client_address",
        swap("len(found) == 1", "found"),
        "test_client_address",
    ),
    guard(
        "bounded chain of proxies",
        "_last_untrusted",
        swap("chain[: -MAX_HOPS - 1 : -1]", "chain[::-1]"),
        "test_client_address",
    ),
    guard("errors always logged", "AccessLog._skips", never("FIRST_ERROR"), "test_logs"),
    guard("bounded queue of traces", "SpanExporter.put", never("MAX_QUEUED"), "test_traces"),
    guard(
        "a collector that fails",
        "SpanExporter._deliver",
        swap("except Exception", "except KeyError"),
        "test_traces",
    ),
    guard("a collector that rejects", "Collector.send", never("_ACCEPTED"), "test_traces"),
    guard(
        "traces flushed in the drain",
        "RequestMiddleware._with_tracer",
        without("stop"),
        "test_traces",
    ),
    guard("a fault is an error in its span", "_add_spans", never("_SERVER_FAULT"), "test_traces"),
    guard("probes are no spans", "RequestMiddleware.__call__", always("_untraced"), "test_traces"),
    guard("sampling of the caller", "Tracer._is_sampled", never("_follows_parent"), "test_traces"),
    guard("valid traceparent", "read_trace", never("_FIRST_VERSION"), "test_traces"),
    # The template: what is recorded of it, and what has drifted since.
    guard("no password in the record", "_origin", swap("[^/@]*@", "$"), "test_doctor"),
    guard(
        "no private value in the record",
        "write_record",
        swap('if not key.startswith("_")', "if True"),
        "test_doctor",
    ),
    guard("broken record", "served_record", swap("OSError, ValueError", "OSError"), "test_doctor"),
    guard(
        "bounded record",
        "_read",
        never("> _MAX_BYTES"),
        "test_doctor",
        module="template_record",
    ),
    guard(
        "litter beside the engine",
        "_files",
        never("_LITTER"),
        "test_doctor",
        module="template_record",
    ),
    guard(
        "edited engine",
        "check_engine",
        swap("recorded.get(name, present[name]) != present[name]", "False"),
        "test_doctor",
    ),
    guard("another link than the record", "check_template", never("differing"), "test_doctor"),
    guard("engine older than the template", "_check_engine_of_index", never("<"), "test_doctor"),
    guard(
        "releases within their bounds", "releases_out_of_bounds", never("contains"), "test_doctor"
    ),
    guard("link of a commit that exists", "link", never("can_be_linked"), "test_doctor"),
    guard("link that is there", "link", swap('"x"', '"w"'), "test_doctor"),
    guard(
        "processors of the container", "check_container", never("settings.workers >"), "test_doctor"
    ),
    guard("memory of the container", "check_container", never("memory < needed"), "test_doctor"),
    guard(
        "groups above the container's",
        "_lowest",
        swap("(own, *own.parents)", "(own,)"),
        "test_doctor",
    ),
    # The record of requests, the shadow model, and what is made of them.
    guard("names of columns to leave out", "check_columns", never("unknown"), "test_record"),
    guard(
        "the owner alone reads the record",
        "RecordDirectory.create",
        swap("_OWNER_ONLY", "0o644"),
        "test_record",
    ),
    guard(
        "rows in a second",
        "Recorder.sample",
        swap("min(rows, int(self._tokens))", "rows"),
        "test_record",
    ),
    guard(
        "what a kill left of a row",
        "RecordDirectory.resume",
        without("remove_partial_line"),
        "test_record",
    ),
    guard("files of the record", "RecordDirectory.delete_oldest", without("unlink"), "test_record"),
    guard("key of the hashes", "RowFormatter._hash", cut("key=self._key,"), "test_record"),
    guard(
        "queue of the shadow", "BackgroundThread.offer", never("self._ending.is_set"), "test_shadow"
    ),
    guard(
        "exit in a shadow",
        "Shadow._predict_batch",
        swap("except BaseException", "except Exception"),
        "test_shadow",
    ),
    guard(
        "rows of a shadow",
        "Comparison.__init__",
        without("check_accepts_as_much"),
        "test_shadow",
    ),
    guard("predictions of a shadow", "Comparison.__init__", never("outputs"), "test_shadow"),
    guard(
        "a shadow is tried in a child",
        "try_to_load",
        swap("_trial(load, timeout)", '""'),
        "test_shadow",
    ),
    guard(
        "rows of another version",
        "RecordStatistics.add",
        swap('row["version"] == self.manifest.version', "True"),
        "test_drift",
    ),
    guard("texts in the page of drift", "drift_page", swap("escape(note)", "note"), "test_drift"),
    guard("an owner's own card", "_card", never("text is None"), "test_model_card"),
    # The short way of a request.
    guard(
        "layers of the owner's around routes",
        "ShortWay.__init__",
        instead("_is_innermost", "self._is_innermost = True"),
        "test_short_way",
    ),
    guard("routes in front", "ShortWay._find", never("FastRoute"), "test_short_way"),
    guard(
        "exceptions go through FastAPI's layers",
        "ShortWay.__call__",
        instead("Outcome(error=error)", "raise"),
        "test_short_way",
    ),
    guard(
        "root path on the short way",
        "Entry.__call__",
        ignoring("root_path"),
        "test_short_way",
        module="short_way",
    ),
    guard("FastAPI's telemetry", "Entry._find", never("tracing"), "test_short_way"),
    guard("a wrapped application", "configure", always("entry.app"), "test_short_way"),
    guard(
        "what wraps the engine's middleware",
        "_Response.respond",
        never("isinstance"),
        "test_short_way",
    ),
    guard(
        "a body that was begun to be read",
        "RequestResponseCycle.whole_body",
        ignoring("begun"),
        "test_short_way",
    ),
    guard(
        "a client that does not read",
        "RequestResponseCycle.respond",
        ignoring("write_paused"),
        "test_short_way",
    ),
    # What other systems lack.
    guard(
        "several workers of predict need Linux", "scoring", never('"linux"'), "test_other_systems"
    ),
    guard(
        "no SIGHUP where the system has none",
        "SingleProcessServer.__init__",
        always('"win32"'),
        "test_other_systems",
    ),
]
