"""What a handler asks for by type: the engine's dependencies, and yours.

A test replaces one for the whole application: `app.dependency_overrides[get_model] = ...`.
"""

from typing import Annotated

from fastapi import Depends
from serving_engine import ModelDep, RowsDep, get_model, get_settings

from .settings import Settings

SettingsDep = Annotated[Settings, Depends(get_settings)]
"""The settings that the application was made with."""

__all__ = ["ModelDep", "RowsDep", "SettingsDep", "get_model", "get_settings"]
