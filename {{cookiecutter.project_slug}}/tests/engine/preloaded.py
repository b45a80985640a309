"""What a service imports until it listens."""

import httptools  # noqa: F401
import uvloop  # noqa: F401

from {{ cookiecutter.__package_name }} import app, cli  # noqa: F401
from {{ cookiecutter.__package_name }}.artifact.runtimes import scikit_learn  # noqa: F401
from {{ cookiecutter.__package_name }}.serving import server  # noqa: F401
