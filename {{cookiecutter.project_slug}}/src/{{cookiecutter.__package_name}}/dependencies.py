"""What a handler may ask for, by type.

Write `model: ModelDep` in a route of your own and it gets the batched, bounded engine. A test
replaces any of these for the whole application through `app.dependency_overrides[get_model]`.
"""

from typing import Annotated

from fastapi import Depends, Request

from .schema.requests import Rows
from .serving.body import check_json, client_timeout, fields, read_body
from .serving.model import Model
from .settings import Settings


async def get_settings(request: Request) -> Settings:
    """The settings that the application was made with."""
    settings: Settings = request.app.state.settings
    return settings


async def get_model(request: Request) -> Model:
    """The model that the lifespan loaded: the same object for every request of this process."""
    model: Model = request.app.state.model
    return model


SettingsDep = Annotated[Settings, Depends(get_settings)]
ModelDep = Annotated[Model, Depends(get_model)]


async def get_rows(request: Request, model: ModelDep, settings: SettingsDep) -> Rows:
    """The rows of the request's body, checked against the model's signature."""
    headers = fields(request.scope["headers"])
    timeout = client_timeout(headers)
    check_json(headers)
    body = await read_body(headers, request.stream(), settings.max_body_bytes)
    return model.parser.parse(body, timeout)


RowsDep = Annotated[Rows, Depends(get_rows)]
