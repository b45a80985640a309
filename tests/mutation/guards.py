"""The guards: where each stands, how it is broken, and the tests that should notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """A line that protects something.

    file: below src/PACKAGE. before: its text, which occurs once. after: the text that breaks it.
    tests: files of the generated project's own tests, below tests/engine, to be quick about it.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


def guard(name: str, file: str, before: str, after: str, *tests: str) -> Guard:
    """A guard whose tests are named without their folder and ending."""
    return Guard(name, file, before, after, tuple(f"tests/engine/{test}.py" for test in tests))


GUARDS = [
    # The model: what is loaded, when, and by whom.
    guard(
        "hash check",
        "artifact/load.py",
        "if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), record.sha256):",
        "if False:",
        "test_load",
    ),
    guard(
        "artifact size cap",
        "artifact/load.py",
        "if record.size > max_bytes:",
        "if False:",
        "test_load",
    ),
    guard(
        "exact size", "artifact/load.py", "if len(data) != record.size:", "if False:", "test_load"
    ),
    guard(
        "golden examples",
        "artifact/load.py",
        "    check_examples(manifest, predict)\n    predict.shorten",
        "    predict.shorten",
        "test_load",
    ),
    guard(
        "zip checked before the parser",
        "artifact/load.py",
        "    check_zip(data, max_bytes)\n",
        "",
        "test_load",
    ),
    guard("expanded size", "artifact/container.py", "if left < 0:", "if False:", "test_load"),
    guard(
        "compression ratio",
        "artifact/container.py",
        "if member.file_size > max_ratio * max(member.compress_size, 1):",
        "if False:",
        "test_load",
    ),
    guard(
        "member names",
        "artifact/container.py",
        '".." in path.parts',
        "False",
        "test_load",
    ),
    guard(
        "reviewed types",
        "artifact/runtimes/trust.py",
        "if name not in REVIEWED and not _is_own_class(name):",
        "if False:",
        "test_load",
    ),
    guard(
        "scikit-learn's minor",
        "artifact/runtimes/scikit_learn.py",
        'if minor != ".".join(installed.split(".")[:2]):',
        "if False:",
        "test_load",
    ),
    guard(
        "schema version",
        "artifact/manifest.py",
        "if found > SCHEMA_VERSION:",
        "if False:",
        "test_load",
    ),
    guard(
        "loaded once",
        "dependencies.py",
        "    model: Model = request.app.state.model\n",
        "    from .artifact.load import load_model\n"
        "    settings = request.app.state.settings\n"
        "    load_model(settings.model_dir, settings.max_model_bytes)\n"
        "    model: Model = request.app.state.model\n",
        "test_lifespan",
    ),
    guard(
        "dependency of the handler",
        "api/predict.py",
        "    return await model.predict(rows)",
        "    from fastapi import Request\n    raise RuntimeError(Request)",
        "test_lifespan",
    ),
    guard(
        "overrides reach the lean route",
        "api/route.py",
        "if self._steps is None or app.dependency_overrides:",
        "if self._steps is None:",
        "test_route",
    ),
    guard(
        "own bits",
        "artifact/runtimes/direct.py",
        "return None\n    return compute",
        "pass\n    return compute",
        "test_direct",
    ),
    # Requests.
    guard(
        "unknown columns",
        "schema/requests.py",
        "if len(given) != len(self._columns):",
        "if False:",
        "test_errors",
    ),
    guard(
        "finite and within float32",
        "schema/requests.py",
        "core_schema.float_schema(strict=True, allow_inf_nan=False, ge=low, le=high)",
        "core_schema.float_schema(strict=True)",
        "test_errors",
    ),
    guard(
        "numbers only",
        "schema/requests.py",
        "core_schema.float_schema(strict=True,",
        "core_schema.float_schema(",
        "test_errors",
    ),
    guard(
        "row limit",
        "schema/requests.py",
        "min_length=1, max_length=max_rows, fail_fast=True",
        "min_length=1, fail_fast=True",
        "test_errors",
    ),
    guard(
        "first bad row only",
        "schema/requests.py",
        "max_length=max_rows, fail_fast=True",
        "max_length=max_rows",
        "test_errors",
        "test_requests",
    ),
    guard(
        "error cap",
        "schema/violations.py",
        "islice(unknown, MOST_ERRORS)",
        "unknown",
        "test_errors",
        "test_requests",
    ),
    guard(
        "answer size",
        "api/problems.py",
        "while errors and len(body) > MAX_BYTES:",
        "while False:",
        "test_errors",
        "test_requests",
    ),
    guard(
        "length of names",
        "schema/violations.py",
        "str(part)[:LONGEST_NAME]",
        "str(part)",
        "test_errors",
        "test_requests",
    ),
    guard(
        "input echo",
        "schema/violations.py",
        'message = _MESSAGES.get(kind, "is not valid").format(**context)',
        'message = f"{kind} {context} {location}"',
        "test_errors",
        "test_requests",
    ),
    guard(
        "declared body size",
        "serving/body.py",
        "if declared.isdigit() and (",
        "if False and (",
        "test_requests",
    ),
    guard(
        "true body size",
        "serving/body.py",
        "if len(body) > max_bytes:",
        "if False:",
        "test_errors",
        "test_requests",
    ),
    guard(
        "body deadline",
        "serving/body.py",
        "call_later(timeout, _expire, task, expired)",
        "call_later(timeout + 60, _expire, task, expired)",
        "test_requests",
    ),
    guard(
        "content type",
        "serving/body.py",
        'if not _JSON.fullmatch(content_type.partition(b";")[0].strip(b" \\t")):',
        "if False:",
        "test_errors",
    ),
    guard(
        "content encoding",
        "serving/body.py",
        'not in {b"identity", b""}',
        'in {b"nothing"}',
        "test_errors",
    ),
    guard(
        "request-id pattern",
        "telemetry/requests.py",
        'if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):',
        'if name == b"x-request-id":',
        "test_logs",
        "test_requests",
    ),
    guard(
        "last safety net",
        "telemetry/requests.py",
        "await self._refuse(error, request_id)(scope, receive, observed)",
        "raise",
        "test_errors",
    ),
    # Keys and logs.
    guard(
        "key compare",
        "api/keys.py",
        "found |= hmac.compare_digest(given, digest)",
        "found = True",
        "test_keys",
    ),
    guard("keys installed", "app.py", "if settings.api_keys:", "if False:", "test_keys"),
    # The engine.
    guard(
        "finite answers",
        "serving/batcher.py",
        "if not outputs.finite:",
        "if False:",
        "test_errors",
    ),
    guard(
        "number of answers",
        "serving/batcher.py",
        "if len(outputs) != len(rows):",
        "if False:",
        "test_batcher",
    ),
    guard(
        "row bound of the queue",
        "serving/batcher.py",
        "too_many_rows = waiting and waiting + rows > self._bounds.queued_rows",
        "too_many_rows = False",
        "test_batcher",
    ),
    guard(
        "request bound of the queue",
        "serving/batcher.py",
        "len(self._queue) >= self._bounds.queued_requests",
        "False",
        "test_batcher",
    ),
    guard(
        "row bound of a batch",
        "serving/batcher.py",
        "if batch and rows + len(job.rows) > self._bounds.batch_rows:",
        "if False:",
        "test_batcher",
    ),
    guard(
        "cancelled and expired work",
        "serving/batcher.py",
        "            if job.answer.done():\n                continue\n            if job.deadline",
        "            if job.deadline",
        "test_batcher",
    ),
    guard(
        "deadline",
        "serving/batcher.py",
        "loop.call_at(job.deadline, self._expire, job)",
        "loop.call_at(job.deadline + 60, self._expire, job)",
        "test_batcher",
    ),
    guard(
        "poisoned batches are halved",
        "serving/batcher.py",
        "if len(batch) == 1:",
        "if len(batch) >= 1:",
        "test_batcher",
    ),
    guard(
        "slow calls leave the event loop",
        "serving/batcher.py",
        "            self.inline_seconds = 0.0\n        self._answer",
        "        self._answer",
        "test_batcher",
    ),
    # The process.
    guard(
        "unready while draining",
        "serving/server.py",
        "        self._readiness.drain()\n",
        "",
        "test_server",
    ),
    guard(
        "drain delay",
        "serving/server.py",
        "while time.monotonic() < self._drain_until and not self.force_exit:",
        "while False:",
        "test_server",
    ),
    guard(
        "connections are told to close",
        "serving/server.py",
        'self.server_state.default_headers.append((b"connection", b"close"))',
        "pass",
        "test_server",
    ),
    guard(
        "exit code of a failed start",
        "errors.py",
        "    exit_code = 3\n",
        "    exit_code = 1\n",
        "test_startup",
    ),
    guard(
        "unknown settings",
        "settings.py",
        "if name not in known:",
        "if False:",
        "test_settings",
    ),
    guard(
        "listening only when ready",
        "serving/server.py",
        "            allow_reuse(listener, False)\n            return listener",
        "            allow_reuse(listener, False)\n            listener.listen()\n"
        "            return listener",
        "test_startup",
    ),
    # Signatures of mixed columns, and packaging.
    guard(
        "whole numbers in their bounds",
        "schema/requests.py",
        "core_schema.int_schema(ge=low, le=high)",
        "core_schema.int_schema()",
        "test_openapi",
    ),
    guard(
        "booleans only",
        "schema/requests.py",
        "core_schema.bool_schema(strict=True)",
        "core_schema.bool_schema()",
        "test_openapi",
    ),
    guard(
        "known values",
        "schema/requests.py",
        "if column.allowed is not None:",
        "if False:",
        "test_openapi",
    ),
    guard(
        "nesting outside of strings",
        "schema/requests.py",
        "_containers(_outside_strings(body)) > self._most_containers",
        "False",
        "test_requests",
    ),
    guard(
        "libraries of the model",
        "artifact/runtimes/scikit_learn.py",
        "if name not in known:\n            raise LibraryMissing(name, built)",
        "if name not in known:\n            continue",
        "test_load",
    ),
    guard(
        "null is asked for",
        "packaging/acceptance.py",
        '{"nullable": place in nullable}',
        '{"nullable": True}',
        "test_examples",
    ),
    guard(
        "unseen values are asked for",
        "packaging/acceptance.py",
        "if place in strange.keys() - taken:",
        "if False:",
        "test_examples",
    ),
    guard(
        "the owner's own answers",
        "packaging/package.py",
        "if not agree(own[number], answer, tolerance.relative, tolerance.absolute):",
        "if False:",
        "test_examples",
    ),
    guard(
        "review of types",
        "packaging/estimator.py",
        "if needed and not review(needed):",
        "if False:",
        "test_packaging",
    ),
    guard(
        "check before it replaces",
        "packaging/directory.py",
        "            check(staging)\n",
        "",
        "test_examples",
    ),
    guard(
        "the replaced model is kept",
        "packaging/directory.py",
        "            _keep(directory, staging)\n",
        "",
        "test_examples",
    ),
    guard(
        "probes again",
        "packaging/report.py",
        "if recorded and not found[name]:",
        "if False:",
        "test_examples",
    ),
    # The download.
    guard(
        "hash of the download",
        "artifact/fetch.py",
        "if sha256 is None or _sha256(part) == sha256.lower():",
        "if True:",
        "test_fetch",
    ),
    guard(
        "length of the download",
        "artifact/fetch.py",
        "if after > (size or 2**20):",
        "if False:",
        "test_fetch",
    ),
    guard(
        "scheme of every hop",
        "artifact/fetch.py",
        "if parts.scheme not in schemes:",
        "if False:",
        "test_fetch",
    ),
    guard(
        "authorization stays with its host",
        "artifact/fetch.py",
        'login = login if urlsplit(url)[:2] == parts[:2] else ""',
        "login = login",
        "test_fetch",
    ),
    guard(
        "deadline of the download",
        "artifact/fetch.py",
        "while time.monotonic() < self.deadline:",
        "while time.monotonic() < self.deadline + 5:",
        "test_fetch",
    ),
]
