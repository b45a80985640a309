"""The settings of the example service."""

from serving_engine import ServingSettings


class Settings(ServingSettings):
    """The engine's settings; `transformers.py` and `model.py` are found beside this module."""
