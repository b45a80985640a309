"""Vertex AI's contract for containers: the routes come from the variables that it sets.

Source: "Custom container requirements for prediction". Vertex AI names the routes for health and
predictions in AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE; without them there are none.
"""

import os
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from ..dependencies import ModelDep, SettingsDep
from ..errors import FieldError, InvalidInput, UsageError
from ..schema.openapi import answer_schema, request_schema
from ..schema.requests import Rows
from ..serving.body import check_json, client_timeout, fields, read_body
from .protocol import ERROR, Protocol, Schema, check_ready, refuse_in_a_line
from .route import LeanRoute

HEALTH, PREDICT = "AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"
_ROUTE = re.compile(r"/[^{}?#\s]*")
_NATIVE = {"/predict", "/livez", "/readyz"}
"""The service's own routes answer to these in its own way, which Vertex AI takes as well."""
_PREDICT = {
    400: "Not JSON, or does not fit the model",
    408: "The body came too slowly",
    413: "Body too large",
    415: "Not JSON by its type, or encoded",
    503: "Queue full or draining; see Retry-After",
    504: "Deadline passed",
}


def protocol() -> Protocol:
    """Vertex AI's, on the routes that the environment names.

    Raises UsageError if one of them is no path.
    """
    router = APIRouter(tags=["vertex"], route_class=LeanRoute)
    health, predict = _route(HEALTH), _route(PREDICT)
    if health:
        router.add_api_route(health, ready, methods=["GET"], summary="Ready (Vertex AI)")
    if predict:
        router.add_api_route(
            predict, predict_instances, methods=["POST"], summary="Predict (Vertex AI)"
        )
    paths = tuple(filter(None, (health, predict)))

    def describe(path: str, operation: Schema, model: Any) -> dict[int, str]:
        if path == health:
            return {503: "Starting or draining; see Retry-After"}
        return _describe(operation, model)

    return Protocol(
        router, paths, refuse_in_a_line, frozenset(filter(None, [health])), describe, ERROR
    )


async def get_instances(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """The rows of `{"instances": [...], "parameters": {}}`, checked against the signature."""
    headers = fields(request.scope["headers"])
    timeout = client_timeout(headers)
    check_json(headers)
    body = await read_body(headers, request.stream(), settings.max_body_bytes)
    document = model.parser.decode(body)
    if isinstance(document, dict) and document.pop("parameters", None) not in (None, {}):
        known = [FieldError("/parameters", "is not known")]
        raise InvalidInput("The model takes no parameters.", known)
    return model.parser.check(document, timeout)


InstancesDep = Annotated[Rows, Depends(get_instances)]


async def predict_instances(rows: InstancesDep, model: ModelDep) -> dict[str, Any]:
    """One prediction for each instance, in order."""
    return {"predictions": (await model.predict(rows)).predictions}


async def ready(request: Request) -> dict[str, str]:
    """Answers 200 when the model may be asked, else 503 with the reason."""
    check_ready(request)
    return {"status": "ready"}


def _route(variable: str) -> str | None:
    path = os.environ.get(variable)
    if not path or path in _NATIVE:
        return None
    if not _ROUTE.fullmatch(path):
        raise UsageError(f"{variable} is not a path: it must begin with /, and be plain text.")
    return path


def _describe(operation: Schema, model: Any) -> dict[int, str]:
    if model is not None:
        signature = model.manifest.signature
        body = request_schema(signature, model.max_rows)
        body["properties"]["parameters"] = {"type": ["object", "null"], "maxProperties": 0}
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
        answer = answer_schema(signature)["properties"]["predictions"]
        operation["responses"]["200"]["content"] = {
            "application/json": {
                "schema": {"type": "object", "properties": {"predictions": answer}}
            }
        }
    return _PREDICT
