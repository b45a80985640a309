"""The dependencies that a handler declares by type.

A handler with a `ModelDep` gets batching, admission and deadlines with it. A test replaces any of
these for the whole application, all protocols included: `app.dependency_overrides[get_model]`.
"""

from typing import Annotated

from fastapi import Depends, Request

from ..inference.model import Model
from ..schema.request_parser import Rows
from ..settings import ServingSettings
from .read_request import read_request


async def get_settings(request: Request) -> ServingSettings:
    """Return the settings of the application."""
    settings: ServingSettings = request.app.state["settings"]
    return settings


async def get_model(request: Request) -> Model:
    """Return the model that the lifespan loaded: one object for all requests of this process."""
    model: Model = request.app.state["model"]
    return model


SettingsDep = Annotated[ServingSettings, Depends(get_settings)]
ModelDep = Annotated[Model, Depends(get_model)]


async def get_rows(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """Return the rows of the request's body, checked against the model's signature.

    Raises RequestError if the body is not `{"instances": [...]}` in JSON, or does not fit.
    """
    received = await read_request(request, settings)
    return model.parser.parse(received.body, received.timeout)


RowsDep = Annotated[Rows, Depends(get_rows)]
