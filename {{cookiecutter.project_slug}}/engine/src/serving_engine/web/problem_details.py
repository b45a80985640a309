"""Errors on the wire: `application/problem+json` (RFC 9457), at most 8 KiB.

An error names the expected value and its place, never the rejected value, a path, a class or a
version. A failure of the service is a 500 with an id; the log has the reason under the same id.
"""

import logging
from http import HTTPStatus
from traceback import clear_frames
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi import CLIENT_CLOSED_REQUEST, RawResponse
from ..errors import FieldError, InvalidInput, InvalidJSON, OutOfMemory, RequestError
from ..schema.error_messages import MAX_ERRORS, pointer

MAX_BYTES = 8192
MAX_TEXT = 1000
SERVER_FAULT = 500
_BODILESS = {204, 205, 304}

logger = logging.getLogger(__name__)


def install_problem_details(app: FastAPI) -> None:
    """Make every error of `app` a problem document, or what the protocol of its path defines."""

    def format_error(error: RequestError, path: str) -> RawResponse:
        scope = {"app": app, "path": path, "root_path": app.root_path}
        response = error_response(scope, error)
        return response.status_code, response.raw_headers, bytes(response.body)

    app.state.format_error = format_error  # for the connection, which rejects invalid requests
    app.add_exception_handler(RequestError, _handle_request_error)
    app.add_exception_handler(MemoryError, _handle_memory_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)


def problem(error: RequestError, request_id: str = "") -> Response:
    """Return the problem document of `error`. request_id: part of it if the status is 500."""
    document = error.document() | {"detail": short_text(error.detail)}
    if error.status == SERVER_FAULT and request_id:
        document["id"] = request_id
    errors = [
        {"pointer": short_text(item.pointer), "message": short_text(item.message)}
        for item in error.errors[:MAX_ERRORS]
    ]
    body = _json(document | {"errors": errors} if errors else document)
    while errors and len(body) > MAX_BYTES:
        errors.pop()
        body = _json(document | {"errors": errors} if errors else document)
    return Response(body, error.status, dict(error.headers), "application/problem+json")


def _json(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def error_response(scope: Scope, error: RequestError, request_id: str = "") -> Response:
    """Return the response to `error` in the protocol of the path, else a problem document."""
    path = path_in_app(scope)
    for protocol in scope["app"].state.protocols:
        if protocol.handles(path):
            response: Response = protocol.format_error(error, request_id)
            return response
    return problem(error, request_id)


def short_text(text: str) -> str:
    """Shorten a text for a response, and replace unpaired surrogates, which UTF-8 cannot encode."""
    return text[:MAX_TEXT].encode(errors="replace").decode()


def path_in_app(scope: Scope) -> str:
    """Return the path within this application, wherever it is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def internal_error_response(request_id: str) -> ASGIApp:
    """Return the response to an exception that nothing else handled; only the log has its text."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        error = RequestError("Internal error.")
        await error_response(scope, error, request_id)(scope, receive, send)

    return respond


async def _handle_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - registered for this type only
    return _respond(request, error, error.__cause__)


async def _handle_memory_error(request: Request, error: Exception) -> Response:
    """Reject a request that the process has no memory for; the next one may be smaller."""
    clear_frames(error.__traceback__)  # they hold what the request has allocated
    request.app.state.metrics.refused(OutOfMemory.kind)
    logger.warning("out of memory", extra={"request_id": request.state.request_id})
    return _respond(request, OutOfMemory.retry())


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    if isinstance(error.__cause__, RequestError):  # raised while FastAPI read the body
        return _respond(request, error.__cause__)
    headers = dict(error.headers or {})
    if error.status_code in _BODILESS:
        return Response(status_code=error.status_code, headers=headers)
    if "GET" in headers.get("Allow", "").split(", "):
        headers["Allow"] = ", ".join(sorted({"HEAD", *headers["Allow"].split(", ")}))
    request_error = RequestError(str(error.detail), headers=headers)
    request_error.status = error.status_code
    request_error.title = _phrase(error.status_code)
    request_error.kind = request_error.title.lower().replace(" ", "-")
    return _respond(request, request_error, error)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    """For routes whose parameters and body FastAPI reads."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    details = error.errors()[:MAX_ERRORS]
    if any(item["type"] == "json_invalid" for item in details):
        return _respond(request, InvalidJSON("The body is not JSON."))
    errors = [FieldError(pointer(item["loc"]), _message(item)) for item in details]
    return _respond(request, InvalidInput("The request is invalid.", errors))


async def _handle_disconnect(_request: Request, _error: Exception) -> Response:
    """The client disconnected while it was sending: no failure, and the response is not sent."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _respond(request: Request, error: RequestError, cause: BaseException | None = None) -> Response:
    request_id = request.state.request_id
    if error.status == SERVER_FAULT:
        logger.error(error.title, exc_info=cause, extra={"request_id": request_id})
    elif logger.isEnabledFor(logging.DEBUG):
        _log_reason(error)
    return error_response(request.scope, error, request_id)


def _log_reason(error: RequestError) -> None:
    """Log why a request was rejected; no message repeats a value of the request."""
    errors = [f"{item.pointer} {item.message}" for item in error.errors[:MAX_ERRORS]]
    logger.debug(
        "request rejected: %s", error.detail, extra={"status": error.status, "errors": errors}
    )


def _message(error: dict[str, Any]) -> str:
    """Return pydantic's message, or only the kind of error if the message quotes the value."""
    context = error.get("ctx", {})
    quotes = "tag" in context or isinstance(context.get("error"), str)
    return str(error["type"] if quotes else error["msg"])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
