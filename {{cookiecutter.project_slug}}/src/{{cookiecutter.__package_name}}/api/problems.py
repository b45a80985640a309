"""Errors on the wire: `application/problem+json` (RFC 9457), at most 8 KiB.

An answer names what was expected and where, never the rejected value, a path, a class or a
version. What is our fault is a 500 with an id; the log has the reason under the same id.
"""

import logging
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ..errors import FieldError, InvalidInput, RequestError
from ..schema.violations import MOST_ERRORS, pointer

MAX_BYTES = 8192
SERVER_FAULT = 500

logger = logging.getLogger(__name__)


def install_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(RequestError, _answer_request_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


def problem(error: RequestError, request_id: str) -> Response:
    """The answer to `error`."""
    document: dict[str, Any] = {
        "type": f"urn:problem-type:serving:{error.kind}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if error.status == SERVER_FAULT:
        document["id"] = request_id
    errors = [asdict(item) for item in error.errors]
    while True:
        if errors:
            document["errors"] = errors
        body = orjson.dumps(document)
        if len(body) <= MAX_BYTES:
            break
        errors = errors[: len(errors) // 2]
        document.pop("errors")
    return Response(body, error.status, dict(error.headers), "application/problem+json")


def unexpected(_error: Exception, request_id: str) -> Response:
    """The answer to an exception that nothing else handled; its text stays in the log."""
    return problem(RequestError("Something failed that should not."), request_id)


async def _answer_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - registered for this type only
    request_id = request.state.request_id
    if error.status == SERVER_FAULT:
        logger.error(error.title, exc_info=error.__cause__, extra={"request_id": request_id})
    return problem(error, request_id)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    described = RequestError(str(error.detail), headers=error.headers)
    described.status = error.status_code
    described.title = HTTPStatus(error.status_code).phrase
    described.kind = described.title.lower().replace(" ", "-")
    return problem(described, request.state.request_id)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    errors = [FieldError(pointer(item["loc"]), item["msg"][:200]) for item in error.errors()]
    return problem(
        InvalidInput("The request does not fit.", errors[:MOST_ERRORS]), request.state.request_id
    )
