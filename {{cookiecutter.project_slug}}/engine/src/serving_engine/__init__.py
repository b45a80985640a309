"""The engine of a model service: loads a model once per process, and serves it over HTTP.

The names listed in `__all__` are the engine's public API: what a service may use, and what its
version number speaks of. Everything else is private and may change with any release. Each name is
imported when it is first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .application import include_fast_router, install, load_and_warm
    from .cli.main import run_command_line
    from .distribution import describe_distribution
    from .errors import FieldError, InvalidInput, ModelError, RequestError, ServiceExit
    from .inference.model import Model
    from .model_files.manifest import Manifest, read_manifest
    from .runtimes.base import LoadedModel
    from .runtimes.load import load_model
    from .runtimes.python.model_class import PythonModel
    from .schema.predictions import Outputs, Predictions, predictions_agree
    from .schema.request_parser import Rows
    from .service import Service
    from .settings import ServingSettings, load_settings
    from .telemetry.request_context import trace_headers
    from .web.dependencies import ModelDep, RowsDep, get_model, get_rows, get_settings
    from .web.fast_route import FastRoute

__all__ = [
    "FastRoute",
    "FieldError",
    "InvalidInput",
    "LoadedModel",
    "Manifest",
    "Model",
    "ModelDep",
    "ModelError",
    "Outputs",
    "Predictions",
    "PythonModel",
    "RequestError",
    "Rows",
    "RowsDep",
    "Service",
    "ServiceExit",
    "ServingSettings",
    "describe_distribution",
    "get_model",
    "get_rows",
    "get_settings",
    "include_fast_router",
    "install",
    "load_and_warm",
    "load_model",
    "load_settings",
    "predictions_agree",
    "read_manifest",
    "run_command_line",
    "trace_headers",
]

_MODULES = {
    "FastRoute": "web.fast_route",
    "FieldError": "errors",
    "InvalidInput": "errors",
    "LoadedModel": "runtimes.base",
    "Manifest": "model_files.manifest",
    "Model": "inference.model",
    "ModelDep": "web.dependencies",
    "ModelError": "errors",
    "Outputs": "schema.predictions",
    "Predictions": "schema.predictions",
    "PythonModel": "runtimes.python.model_class",
    "RequestError": "errors",
    "Rows": "schema.request_parser",
    "RowsDep": "web.dependencies",
    "Service": "service",
    "ServiceExit": "errors",
    "ServingSettings": "settings",
    "describe_distribution": "distribution",
    "get_model": "web.dependencies",
    "get_rows": "web.dependencies",
    "get_settings": "web.dependencies",
    "include_fast_router": "application",
    "install": "application",
    "load_and_warm": "application",
    "load_model": "runtimes.load",
    "load_settings": "settings",
    "predictions_agree": "schema.predictions",
    "read_manifest": "model_files.manifest",
    "run_command_line": "cli.main",
    "trace_headers": "telemetry.request_context",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{module}", __name__), name)
