"""The settings of the example service."""

from typing import ClassVar

from serving_engine import ServingSettings


class Settings(ServingSettings):
    """The engine's settings, and where the service's own code of models is."""

    transformers: ClassVar[str | None] = f"{__package__}.transformers"
    model_class: ClassVar[str | None] = f"{__package__}.model:Model"
