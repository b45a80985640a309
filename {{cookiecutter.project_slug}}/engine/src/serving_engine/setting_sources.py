"""Where settings come from: the SERVING_ variables, and those of platforms as a fallback."""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic_settings import EnvSettingsSource

from .errors import UsageError

PREFIX = "SERVING_"

# Kubernetes sets these in every pod whose namespace has a service called `serving`.
_INJECTED = re.compile(r"SERVING_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_INJECTED_URL = re.compile(r"(tcp|udp|sctp)://")

# Variables that platforms set, and the fields that they are a fallback for.
_FALLBACKS = (("AIP_HTTP_PORT", "port"), ("PORT", "port"), ("WEB_CONCURRENCY", "workers"))


class Variables(EnvSettingsSource):
    """The SERVING_ variables, except those that Kubernetes injects. An unknown one is an error."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {f"{PREFIX}{field}".upper() for field in self.settings_cls.model_fields}
        variables = {}
        for name, value in os.environ.items():
            if not name.startswith(PREFIX) or _INJECTED.fullmatch(name) or not is_setting(name):
                continue
            if name not in known:
                suffixes = [each.removeprefix(PREFIX) for each in known]
                nearest = near(name.removeprefix(PREFIX), suffixes, PREFIX)
                raise UsageError(
                    f"{name} is an unknown setting.{nearest} Remove it, or see `serve --help`."
                )
            variables[name.lower()] = value
        return variables


def fallback_variables() -> dict[str, str]:
    """Return the variable of a platform that is a fallback for a field, where one is set."""
    variables: dict[str, str] = {}
    for name, field in _FALLBACKS:
        if os.environ.get(name):
            variables.setdefault(field, name)
    return variables


def near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A question for the known name that is nearest to a wrong one, if one is near."""
    nearest = get_close_matches(name, list(known), 1)
    return "".join(f" Did you mean {prefix}{each}?" for each in nearest)


def is_setting(variable: str) -> bool:
    """Return whether a variable is set, and not by Kubernetes for a service of that name."""
    value = os.environ.get(variable)
    return value is not None and not (variable == "SERVING_PORT" and _INJECTED_URL.match(value))
