"""`serve --reload`, for development: starts the service anew when its code changes.

uvicorn's reloader looks at the files and starts the processes. Each start is a new process, which
runs `serve` as if it had been started by hand.
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from socket import socket

import uvicorn
from uvicorn.supervisors import ChangeReload

from ..service import Service
from ..setting_sources import PREFIX
from .main import run_command_line


def serve_with_reload(service: Service, **arguments: object) -> None:
    """Serve in a process of its own until a signal ends the service, and again after each change
    of a Python file of the service or the engine.

    arguments: of `serve`, by the names of the settings. A process that ended, as its code is
    invalid, is replaced after the next change.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in {**given, "drain_delay": 0}.items():
        os.environ[f"{PREFIX}{name}".upper()] = str(value)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # names the file that changed
    folders = [str(_folder(package)) for package in (service.package, __package__.split(".")[0])]
    config = uvicorn.Config("", reload=True, reload_dirs=folders, log_config=None)
    ChangeReload(config, partial(_serve, service), []).run()


def _serve(service: Service, sockets: Sequence[socket]) -> None:  # noqa: ARG001 - uvicorn's
    run_command_line(service, ["serve"])


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None  # noqa: S101 - it is imported
    return Path(str(spec.origin)).parent
