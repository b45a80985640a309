"""Azure Machine Learning's scoring route, `/score`: `{"input_data": ...}` in, an array out.

Source: the inference server of Azure Machine Learning, and the input of a model that it deploys
without code: pandas' orient="split" with `columns`, `index` and `data`, rows as objects, or arrays.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from ..errors import FieldError, InvalidInput
from ..inference.model import Model
from ..schema.json_schema import Schema, request_schema, response_schema
from ..schema.request_parser import Rows
from ..web.dependencies import ModelDep, SettingsDep
from ..web.fast_route import FastRoute
from ..web.protocol import ERROR, Protocol, one_line_error
from ..web.read_request import read_request
from ..web.statuses import READING_ROWS
from .mlflow.inputs import from_json, without_nan

PATH = "/score"
INPUT = "input_data"
_ROWS = ("instances", f"/{INPUT}")
"""The form of MLflow for rows, and their place in the body."""

router = APIRouter(tags=["azureml"], route_class=FastRoute)


def protocol() -> Protocol:
    """Make the protocol."""
    return Protocol(router, (PATH,), one_line_error, frozenset(), _describe, ERROR)


async def get_input_data(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """Return the rows of `{"input_data": ...}`, checked against the signature."""
    received = await read_request(request, settings)
    nan = b"NaN" in received.body
    document = model.parser.decode(received.body, nan)
    if not isinstance(document, dict) or INPUT not in document:
        raise InvalidInput("The body must be an object with input_data.")
    if document.get("params") not in (None, {}):
        raise InvalidInput("The model has no params.")
    if not document.keys() <= {INPUT, "params"}:
        raise InvalidInput("The body has unknown members beside input_data.")
    data = document[INPUT]
    for number, row in enumerate(data if isinstance(data, list) else ()):
        if not isinstance(row, list | dict):  # a value for a model with one column, in MLflow
            wrong = FieldError(f"/{INPUT}/{number}", "must be an object or an array")
            raise InvalidInput(f"{INPUT} must be a list of rows.", [wrong])
    form, place = ("dataframe_split", f"/{INPUT}/data") if isinstance(data, dict) else _ROWS
    try:
        rows = from_json({form: data}, model.manifest.signature)
        return model.parser.check(without_nan(rows) if nan else rows, received.timeout)
    except InvalidInput as error:
        errors = [
            FieldError(item.pointer.replace("/instances", place, 1), item.message)
            for item in error.errors
        ]
        detail = error.detail.replace(form, INPUT, 1).replace("instances", INPUT, 1)
        raise InvalidInput(detail, errors) from None


InputDataDep = Annotated[Rows, Depends(get_input_data)]


@router.post(PATH, response_model=None, summary="Score rows (Azure Machine Learning)")
async def score(rows: InputDataDep, model: ModelDep) -> list[Any]:
    """An array with one prediction for each row, in order."""
    return (await model.predict(rows)).predictions


def _describe(_path: str, operation: Schema, model: Model | None) -> tuple[int, ...]:
    if model is None:
        return READING_ROWS
    signature = model.manifest.signature
    rows = request_schema(signature, model.max_rows)["properties"]["instances"]
    split = {
        "type": "object",
        "description": "As pandas' orient='split'.",
        "properties": {name: {"type": "array"} for name in ("columns", "index", "data")},
        "required": ["data"],
    }
    body = {
        "type": "object",
        "properties": {INPUT: {"anyOf": [split, *rows["anyOf"]]}},
        "required": [INPUT],
    }
    first = model.manifest.example_rows[0]
    example = {INPUT: {"columns": signature.columns, "index": [0], "data": [first]}}
    described = {"schema": body, "examples": {"Split": {"value": example}}}
    operation["requestBody"] = {"required": True, "content": {"application/json": described}}
    predictions = response_schema(signature)["properties"]["predictions"]
    operation["responses"]["200"]["content"] = {"application/json": {"schema": predictions}}
    return READING_ROWS
