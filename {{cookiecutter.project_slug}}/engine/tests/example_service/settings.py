"""The settings of the example service."""

from typing import ClassVar

from serving_engine import ServingSettings


class Settings(ServingSettings):
    """The engine's settings, and the module of the service's own transformers."""

    transformers: ClassVar[str | None] = f"{__package__}.transformers"
