"""MLflow's scoring protocol, which is also what SageMaker asks of a container.

Sources: `mlflow.pyfunc.scoring_server`; SageMaker's "Use your own inference code with hosting
services": `IMAGE serve`, port 8080, `/ping` within 2 s, `/invocations`.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from ..dependencies import ModelDep, SettingsDep
from ..distribution import distribution
from ..errors import InvalidInput, RequestError, UnsupportedMediaType
from ..schema.openapi import answer_schema, request_schema
from ..schema.requests import Rows
from ..schema.scoring import FORMS, from_csv, from_json, without_nan
from ..serving.body import client_timeout, fields, read_body
from .protocol import Protocol, Schema, check_ready, sentence, status_of
from .route import LeanRoute

_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    413: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ERROR: Schema = {
    "type": "object",
    "title": "MLflow error",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
    "additionalProperties": False,
}
_INVOCATIONS = {
    400: "Not JSON or CSV, or does not fit the model",
    408: "The body came too slowly",
    413: "Body too large",
    415: "Neither JSON nor CSV by its type, or encoded",
    503: "Queue full or draining; see Retry-After",
    504: "Deadline passed",
}
_PROBES = frozenset({"/ping", "/health"})

router = APIRouter(tags=["mlflow"], route_class=LeanRoute)


def protocol() -> Protocol:
    """MLflow's, and SageMaker's."""
    paths = (*_PROBES, "/version", "/invocations")
    return Protocol(router, paths, _refuse, _PROBES, _describe, _ERROR)


async def get_scored_rows(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """The rows of a request in any of MLflow's forms, checked against the model's signature."""
    headers = fields(request.scope["headers"])
    timeout = client_timeout(headers)
    if headers.get(b"content-encoding", b"identity").lower() not in {b"identity", b""}:
        raise UnsupportedMediaType("Send the body without Content-Encoding.")
    kind = _content_type(headers.get(b"content-type", b""))
    body = await read_body(headers, request.stream(), settings.max_body_bytes)
    signature = model.manifest.signature
    if kind == b"text/csv":
        try:
            document = from_csv(body.decode("utf-8-sig"), signature)
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8.") from None
    else:
        nan = b"NaN" in body
        document = from_json(model.parser.decode(body, nan), signature)
        if nan:
            document = without_nan(document)
    return model.parser.check(document, timeout)


ScoredRowsDep = Annotated[Rows, Depends(get_scored_rows)]


@router.post("/invocations", response_model=None, summary="Score rows")
async def invocations(rows: ScoredRowsDep, model: ModelDep) -> dict[str, Any]:
    """One prediction for each row, in order."""
    return {"predictions": (await model.predict(rows)).predictions}


@router.get("/health", summary="Ready (MLflow)", response_class=Response)
@router.get("/ping", summary="Ready (MLflow, SageMaker)", response_class=Response)
async def ping(request: Request) -> Response:
    """Answers 200 when the model may be asked, else 503 with the reason."""
    check_ready(request)
    return Response("\n", media_type="application/json")


@router.get("/version", summary="Version of the service", response_class=Response)
async def version() -> Response:
    """The version of this service, as text."""
    return Response(distribution().version, media_type="text/plain")


def _content_type(given: bytes) -> bytes:
    """The media type, JSON or CSV; charset=utf-8 is the only parameter that there may be."""
    kind, *parameters = [part.strip(b" \t").lower() for part in given.split(b";")]
    if kind not in {b"application/json", b"text/csv"}:
        raise UnsupportedMediaType("Send application/json or text/csv.")
    if any(parameter.replace(b'"', b"") != b"charset=utf-8" for parameter in parameters):
        raise UnsupportedMediaType("Send UTF-8, and no other parameter of the content type.")
    return kind


def _refuse(error: RequestError, request_id: str) -> Response:
    """What does not fit is 400 here."""
    status = status_of(error)
    code = _CODES.get(status, "BAD_REQUEST")
    body = orjson.dumps({"error_code": code, "message": sentence(error, request_id)})
    return Response(body, status, dict(error.headers), "application/json")


def _describe(path: str, operation: Schema, model: Any) -> dict[int, str]:
    if path != "/invocations" or model is None:
        content: Schema = {"text/plain" if path == "/version" else "application/json": {}}
        operation["responses"]["200"]["content"] = content
        return {503: "Starting or draining; see Retry-After"} if path in _PROBES else {}
    signature = model.manifest.signature
    rows = request_schema(signature, model.max_rows)["properties"]["instances"]
    body: Schema = {
        "type": "object",
        "description": f"Exactly one of {', '.join(FORMS)}.",
        "properties": {"dataframe_records": rows, "instances": rows},
        "minProperties": 1,
    }
    csv: Schema = {"schema": {"type": "string"}}
    example = {"dataframe_records": [model.manifest.examples[0].input]}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": body, "examples": {"Records": {"value": example}}},
            "text/csv": csv,
        },
    }
    answer = answer_schema(signature)["properties"]["predictions"]
    operation["responses"]["200"]["content"] = {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"predictions": answer},
                "required": ["predictions"],
                "additionalProperties": False,
            }
        }
    }
    return _INVOCATIONS
