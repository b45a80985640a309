"""MLflow's scoring protocol, which SageMaker uses as well.

Sources: `mlflow.pyfunc.scoring_server`; SageMaker's "Use your own inference code with hosting
services": `IMAGE serve`, port 8080, `/ping` within 2 s, `/invocations`.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from ...errors import InvalidInput, RequestError, UnsupportedMediaType
from ...inference.model import Model
from ...schema.json_schema import Schema, object_schema, request_schema
from ...schema.request_parser import Rows
from ...web.dependencies import ModelDep, SettingsDep
from ...web.fast_route import FastRoute
from ...web.protocol import (
    Protocol,
    check_ready,
    describe_predictions,
    error_sentence,
    status_of,
)
from ...web.read_request import Headers, check_not_encoded, read_request
from ...web.statuses import PROBING, READING_ROWS
from .inputs import FORMS, from_csv, from_json, without_nan

_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    413: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ERROR = object_schema({"error_code": {"type": "string"}, "message": {"type": "string"}}) | {
    "title": "MLflow error"
}
_PROBES = frozenset({"/ping", "/health"})

router = APIRouter(tags=["mlflow"], route_class=FastRoute)


def protocol() -> Protocol:
    """Make the protocol of MLflow and SageMaker."""
    paths = (*_PROBES, "/version", "/invocations")
    return Protocol(router, paths, _format_error, _PROBES, _describe, _ERROR)


async def get_scored_rows(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """Return the rows of a request in one of MLflow's formats, checked against the signature."""
    received = await read_request(request, settings, _check_json_or_csv)
    body = received.body
    signature = model.manifest.signature
    if _media_type(received.headers) == b"text/csv":
        try:
            document = from_csv(body.decode("utf-8-sig"), signature)
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8.") from None
    else:
        nan = b"NaN" in body
        document = from_json(model.parser.decode(body, nan), signature)
        if nan:
            document = without_nan(document)
    return model.parser.check(document, received.timeout)


ScoredRowsDep = Annotated[Rows, Depends(get_scored_rows)]


@router.post("/invocations", response_model=None, summary="Score rows")
async def invocations(rows: ScoredRowsDep, model: ModelDep) -> dict[str, Any]:
    """One prediction for each row, in order."""
    return {"predictions": (await model.predict(rows)).predictions}


@router.get("/health", summary="Ready (MLflow)", response_class=Response)
@router.get("/ping", summary="Ready (MLflow, SageMaker)", response_class=Response)
async def ping(request: Request) -> Response:
    """Returns 200 when the model is ready, else 503 with the reason."""
    check_ready(request)
    return Response("\n", media_type="application/json")


@router.get("/version", summary="Version of the service", response_class=Response)
async def version(request: Request) -> Response:
    """The version of this service, as text."""
    return Response(request.app.version, media_type="text/plain")


def _check_json_or_csv(headers: Headers) -> None:
    """Raise UnsupportedMediaType. The content type may have no parameter but charset=utf-8."""
    check_not_encoded(headers)
    if _media_type(headers) not in {b"application/json", b"text/csv"}:
        raise UnsupportedMediaType("Send application/json or text/csv.")
    _, *parameters = headers.get(b"content-type", b"").lower().split(b";")
    if any(part.strip(b" \t").replace(b'"', b"") != b"charset=utf-8" for part in parameters):
        raise UnsupportedMediaType("Send UTF-8, and no other parameter of the content type.")


def _media_type(headers: Headers) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()


def _format_error(error: RequestError, request_id: str) -> Response:
    status = status_of(error)
    code = _CODES.get(status, "BAD_REQUEST")
    body = orjson.dumps({"error_code": code, "message": error_sentence(error, request_id)})
    return Response(body, status, dict(error.headers), "application/json")


def _describe(path: str, operation: Schema, model: Model | None) -> tuple[int, ...]:
    if path != "/invocations" or model is None:
        content: Schema = {"text/plain" if path == "/version" else "application/json": {}}
        operation["responses"]["200"]["content"] = content
        return PROBING if path in _PROBES else ()
    rows = request_schema(model.manifest.signature, model.max_rows)["properties"]["instances"]
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
    describe_predictions(operation, model)
    return READING_ROWS
