"""MLflow's scoring protocol, which SageMaker uses as well.

Sources: `mlflow.pyfunc.scoring_server`; SageMaker's "Use your own inference code with hosting
services": `IMAGE serve`, port 8080, `/ping` within 2 s, `/invocations`;
"Common data formats for inference".
"""

from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response

from ...errors import InvalidInput, NotAcceptable, RequestError
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
from ...web.read_request import by_name, read_request
from ...web.statuses import PROBING, READING_ROWS
from .inputs import FORMS, from_csv, from_json, from_json_lines, without_nan
from .media_types import (
    CSV,
    JSON,
    JSON_LINES,
    NPY,
    check_content_type,
    content_type_of,
    response_form,
)
from .npy import read_npy
from .outputs import predict_as

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
_BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}
_PROBES = frozenset({"/ping", "/health"})

router = APIRouter(tags=["mlflow"], route_class=FastRoute)


def protocol() -> Protocol:
    """Make the protocol of MLflow and SageMaker."""
    paths = (*_PROBES, "/version", "/invocations")
    return Protocol(router, paths, _format_error, _PROBES, _describe, _ERROR)


async def get_response_form(request: Request) -> str:
    """Return the media type of the response. Raises NotAcceptable."""
    return response_form(by_name(request.scope["headers"]).get(b"accept"))


ResponseFormDep = Annotated[str, Depends(get_response_form)]


async def get_scored_rows(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """Return the rows of a request in one of the input formats, checked against the signature."""
    received = await read_request(request, settings, check_content_type)
    body = received.body
    signature = model.manifest.signature
    content_type = content_type_of(received.headers)
    nan = b"NaN" in body
    if content_type.form == CSV:
        nan = False
        document = from_csv(_text(body), signature, content_type.header)
    elif content_type.form == JSON_LINES:
        decode = partial(model.parser.decode, nan=nan)
        document = from_json_lines(body, decode, signature, model.max_rows)
    elif content_type.form == NPY:
        nan = True
        document = {"instances": read_npy(body, len(signature.columns))}
    else:
        document = from_json(model.parser.decode(body, nan), signature)
    return model.parser.check(without_nan(document) if nan else document, received.timeout)


ScoredRowsDep = Annotated[Rows, Depends(get_scored_rows)]


@router.post("/invocations", response_model=None, summary="Score rows")
async def invocations(form: ResponseFormDep, rows: ScoredRowsDep, model: ModelDep) -> Response:
    """One prediction for each row, in order, in the form that `Accept` asks for."""
    return Response(await predict_as(form, rows, model), media_type=form)


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


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8.") from None


def _format_error(error: RequestError, request_id: str) -> Response:
    status = status_of(error)
    code = _CODES.get(status, "BAD_REQUEST")
    document = {"error_code": code, "message": error_sentence(error, request_id)}
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
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
    text: Schema = {"schema": {"type": "string"}}
    example = {"dataframe_records": [model.manifest.examples[0].input]}
    described = {"schema": body, "examples": {"Records": {"value": example}}}
    others = {CSV: text, JSON_LINES: text, NPY: _BINARY}
    operation["requestBody"] = {
        "required": True,
        "content": {JSON: described} | others,
    }
    describe_predictions(operation, model)
    operation["responses"]["200"]["content"] |= others
    return (*READING_ROWS, NotAcceptable.status)
