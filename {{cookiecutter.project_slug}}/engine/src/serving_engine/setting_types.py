"""Types of settings whose values have a form of their own."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

# The syntax of a Bearer token (RFC 6750, section 2.1).
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MIN_KEY_LENGTH = 16

Network = IPv4Network | IPv6Network

# As browsers send it (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]+")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _split_keys(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _check_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if any(char.isspace() for char in text):
        raise PydanticCustomError(
            "api_key", "a space or a line end is in it; keys are separated by commas alone"
        )
    if len(text) < _MIN_KEY_LENGTH or not _KEY.fullmatch(text):
        raise PydanticCustomError(
            "api_key",
            "every key needs at least 16 characters, and only letters, digits and -._~+/; "
            "`openssl rand -hex 32` makes one",
        )
    return key


def _split_list(value: object) -> object:
    return re.findall(r"[^,\s]+", value) if isinstance(value, str) else value


def _check_origin(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise PydanticCustomError(
            "origin",
            "an origin is as https://app.example.org:8443, in lower case; * allows every one",
        )
    return origin


def _network(value: object) -> Network:
    try:
        return ip_network(value, strict=False)  # type: ignore[arg-type]
    except ValueError:
        raise PydanticCustomError(
            "network", "an address or a network is as 10.1.2.3, 10.0.0.0/8 or fd00::/8"
        ) from None


def _check_root_path(path: str) -> str:
    if not _ROOT_PATH.fullmatch(path):
        raise PydanticCustomError("root_path", "it must be as /models/iris")
    return path


def _check_hash_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < _MIN_KEY_LENGTH:
        raise PydanticCustomError("hash_key", "it needs at least 16 characters")
    return key


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _one_of(*choices: str) -> AfterValidator:
    """A check that a value is one of these; the type stays str, as a service may set a default."""

    def check(value: str) -> str:
        if value not in choices:
            *first, last = map(repr, choices)
            expected = f"{', '.join(first)} or {last}"
            raise PydanticCustomError("literal_error", "{expected}", {"expected": expected})
        return value

    return AfterValidator(check)


ApiKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_key)], ...] | None,
    NoDecode,
    BeforeValidator(_split_keys),
]

Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...],
    NoDecode,
    BeforeValidator(_split_list),
]
Networks = Annotated[
    tuple[Annotated[Network, PlainValidator(_network)], ...],
    NoDecode,
    BeforeValidator(_split_list),
]
RootPath = Annotated[str, AfterValidator(_check_root_path)]
ColumnNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
HashKey = Annotated[SecretStr, AfterValidator(_check_hash_key)]
RecordFormat = Annotated[str, BeforeValidator(_lower), _one_of("jsonl", "parquet")]
LogFormat = Annotated[str, BeforeValidator(_lower), _one_of("auto", "json", "text")]
LogLevel = Annotated[str, BeforeValidator(_lower), _one_of("debug", "info", "warning", "error")]
