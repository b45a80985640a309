"""The location of the owner's code, which is imported when a command needs it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .settings import ServingSettings


@dataclass(frozen=True)
class Service:
    """The owner's package, and where the application and the settings are in it.

    package: its name; `python -m` with that name runs the same command line.
    create_app: module and name of the function `create_app(settings, model)`.
    settings: module and name of the settings' class, a subclass of `ServingSettings`.
    """

    package: str
    create_app: str = "app:create_app"
    settings: str = "settings:Settings"

    def import_create_app(self) -> Callable[..., Any]:
        """Import the function that makes the application."""
        function: Callable[..., Any] = self._import(self.create_app)
        return function

    def import_settings(self) -> "type[ServingSettings]":
        """Import the class of the settings."""
        settings: type[ServingSettings] = self._import(self.settings)
        return settings

    def _import(self, reference: str) -> Any:
        module, _, attribute = reference.partition(":")
        return getattr(import_module(f"{self.package}.{module}"), attribute)
