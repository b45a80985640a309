"""Errors on the wire: `application/problem+json` (RFC 9457), at most 8 KiB.

An answer names what was expected and where, never the rejected value, a path, a class or a
version. What is our fault is a 500 with an id; the log has the reason under the same id.
"""

import logging
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import FieldError, InvalidInput, InvalidJSON, RequestError
from ..schema.violations import MOST_ERRORS, pointer
from ..telemetry.requests import CLIENT_GONE

MAX_BYTES = 8192
LONGEST_TEXT = 1000
SERVER_FAULT = 500
_BODILESS = {204, 205, 304}

logger = logging.getLogger(__name__)


def install_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document, or what the protocol of its path has."""

    def answer(error: RequestError, path: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        found = refuse({"app": app, "path": path}, error)
        return found.status_code, found.raw_headers, bytes(found.body)

    app.state.refuse = answer  # for what never becomes a request
    app.add_exception_handler(RequestError, _answer_request_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)


def problem(error: RequestError, request_id: str = "") -> Response:
    """The answer to `error`. request_id: told to the client where the fault is ours."""
    document = error.document() | {"detail": _text(error.detail)}
    if error.status == SERVER_FAULT and request_id:
        document["id"] = request_id
    errors = [
        {"pointer": _text(item.pointer), "message": _text(item.message)}
        for item in error.errors[:MOST_ERRORS]
    ]
    body = orjson.dumps(document | {"errors": errors} if errors else document)
    while errors and len(body) > MAX_BYTES:
        errors.pop()
        body = orjson.dumps(document | {"errors": errors} if errors else document)
    return Response(body, error.status, dict(error.headers), "application/problem+json")


def refuse(scope: Scope, error: RequestError, request_id: str = "") -> Response:
    """The answer to `error` in the form of the protocol that owns the path, else a problem."""
    path = own_path(scope)
    for protocol in scope["app"].state.protocols:
        if protocol.owns(path):
            answer: Response = protocol.refuse(error, request_id)
            return answer
    return problem(error, request_id)


def own_path(scope: Scope) -> str:
    """The path within this application, wherever it is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def unexpected(_error: Exception, request_id: str) -> ASGIApp:
    """The answer to an exception that nothing else handled; its text stays in the log."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        error = RequestError("Something failed that should not.")
        await refuse(scope, error, request_id)(scope, receive, send)

    return answer


async def _answer_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - registered for this type only
    return _answer(request, error, error.__cause__)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    if isinstance(error.__cause__, RequestError):  # FastAPI failed to read a body, because of it
        return _answer(request, error.__cause__)
    headers = dict(error.headers or {})
    if error.status_code in _BODILESS:
        return Response(status_code=error.status_code, headers=headers)
    if "GET" in headers.get("Allow", "").split(", "):
        headers["Allow"] = ", ".join(sorted({"HEAD", *headers["Allow"].split(", ")}))
    described = RequestError(str(error.detail), headers=headers)
    described.status = error.status_code
    described.title = _phrase(error.status_code)
    described.kind = described.title.lower().replace(" ", "-")
    return _answer(request, described, error)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """For routes that let FastAPI read their parameters and their body."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    found = error.errors()[:MOST_ERRORS]
    if any(item["type"] == "json_invalid" for item in found):
        return _answer(request, InvalidJSON("The body is not JSON."))
    errors = [FieldError(pointer(item["loc"]), _message(item)) for item in found]
    return _answer(request, InvalidInput("The request does not fit.", errors))


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """A client went away while it was sending: no failure of ours, and nobody to answer."""
    return Response(status_code=CLIENT_GONE)


def _answer(request: Request, error: RequestError, cause: BaseException | None = None) -> Response:
    request_id = request.state.request_id
    if error.status == SERVER_FAULT:
        logger.error(error.title, exc_info=cause, extra={"request_id": request_id})
    return refuse(request.scope, error, request_id)


def _message(error: dict[str, Any]) -> str:
    """pydantic's message, or only the kind of error where the message quotes what was sent."""
    context = error.get("ctx", {})
    quotes = "tag" in context or isinstance(context.get("error"), str)
    return str(error["type"] if quotes else error["msg"])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _text(text: str) -> str:
    """Short enough for an answer, and without the unpaired surrogates that UTF-8 does not have."""
    return text[:LONGEST_TEXT].encode(errors="replace").decode()
