"""Wire protocols beside `/predict`: one module or folder each.

Every module or folder here with a function `protocol` is served; no other code names it.
"""

from importlib import import_module
from pkgutil import iter_modules

from ..web.protocol import Protocol


def find_protocols() -> list[Protocol]:
    """Return the protocols of this service besides its own."""
    modules = [import_module(f".{module.name}", __name__) for module in iter_modules(__path__)]
    return [module.protocol() for module in modules if hasattr(module, "protocol")]
