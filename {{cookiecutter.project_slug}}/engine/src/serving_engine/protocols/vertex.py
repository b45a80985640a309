"""Vertex AI's contract for containers: environment variables name the routes.

Source: "Custom container requirements for prediction". Vertex AI sets AIP_HEALTH_ROUTE and
AIP_PREDICT_ROUTE; without them, there are no such routes.
"""

import os
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from ..errors import FieldError, InvalidInput, UsageError
from ..inference.model import Model
from ..schema.json_schema import Schema, request_schema
from ..schema.request_parser import Rows
from ..web.dependencies import ModelDep, SettingsDep
from ..web.fast_route import FastRoute
from ..web.protocol import ERROR, Protocol, check_ready, describe_predictions, one_line_error
from ..web.read_request import read_request
from ..web.statuses import PROBING, READING_ROWS

HEALTH = "AIP_HEALTH_ROUTE"
PREDICT = "AIP_PREDICT_ROUTE"
_ROUTE = re.compile(r"/[^{}?#\s]*")
_NATIVE = {"/predict", "/livez", "/readyz"}
"""Routes of the service itself, whose own responses Vertex AI accepts as well."""


def protocol() -> Protocol:
    """Make the protocol, with the routes that the environment variables name.

    Raises UsageError if one of them is not a path.
    """
    router = APIRouter(tags=["vertex"], route_class=FastRoute)
    health = _route(HEALTH)
    predict = _route(PREDICT)
    if health:
        router.add_api_route(health, ready, methods=["GET"], summary="Ready (Vertex AI)")
    if predict:
        router.add_api_route(
            predict, predict_instances, methods=["POST"], summary="Predict (Vertex AI)"
        )
    paths = tuple(filter(None, (health, predict)))

    def describe(path: str, operation: Schema, model: Model | None) -> tuple[int, ...]:
        if path == health:
            return PROBING
        if model is not None:
            _describe_body(operation, model)
            describe_predictions(operation, model)
        return READING_ROWS

    probes = frozenset({health} if health else ())
    return Protocol(router, paths, one_line_error, probes, describe, ERROR)


async def get_instances(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """Return the rows of `{"instances": [...], "parameters": {}}`, checked by the signature."""
    received = await read_request(request, settings)
    document = model.parser.decode(received.body)
    if isinstance(document, dict) and document.pop("parameters", None) not in (None, {}):
        errors = [FieldError("/parameters", "is not known")]
        raise InvalidInput("The model has no parameters.", errors)
    return model.parser.check(document, received.timeout)


InstancesDep = Annotated[Rows, Depends(get_instances)]


async def predict_instances(rows: InstancesDep, model: ModelDep) -> dict[str, Any]:
    """One prediction for each instance, in order."""
    return {"predictions": (await model.predict(rows)).predictions}


async def ready(request: Request) -> dict[str, str]:
    """Returns 200 when the model is ready, else 503 with the reason."""
    check_ready(request)
    return {"status": "ready"}


def _route(variable: str) -> str | None:
    path = os.environ.get(variable)
    if not path or path in _NATIVE:
        return None
    if not _ROUTE.fullmatch(path):
        raise UsageError(
            f"{variable} is not a path: it must begin with / and have no spaces, braces, ? or #."
        )
    return path


def _describe_body(operation: Schema, model: Model) -> None:
    body = request_schema(model.manifest.signature, model.max_rows)
    body["properties"]["parameters"] = {"type": ["object", "null"], "maxProperties": 0}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": body}},
    }
