"""The client in the access log: behind trusted proxies, and never what a client claims to be."""

from ipaddress import ip_network

import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import UsageError
from serving_engine.runtimes.base import LoadedModel
from serving_engine.settings import load_settings
from serving_engine.web.client_address import client_address

from .example_service.app import create_app
from .example_service.settings import Settings

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def found(peer: str, *headers: tuple[str, str]) -> str | None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return client_address({"client": (peer, 1), "headers": raw}, TRUSTED)


def behind(chain: str) -> str | None:
    return found("10.0.0.1", ("x-forwarded-for", chain))


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.1.1.1,10.2.2.2", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7, fd00::1", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("203.0.113.7, unknown, 10.2.2.2", "10.2.2.2"),
        ("203.0.113.7, 10.2.2.2\x1b[2J", "10.0.0.1"),
        ("", "10.0.0.1"),
        (", ".join(["203.0.113.7"] + ["10.1.1.1"] * 5000), "10.1.1.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(chain: str, client: str) -> None:
    assert behind(chain) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7"),
        ('proto=http; For="[2001:db8::7]:4711", for=10.2.2.2', "2001:db8::7"),
        ("for=_hidden", "10.0.0.1"),
        ("by=203.0.113.7", "10.0.0.1"),
    ],
)
def test_the_header_forwarded_names_the_client_too(value: str, client: str) -> None:
    assert found("10.0.0.1", ("forwarded", value)) == client


def test_the_headers_of_others_do_not_count() -> None:
    assert found("192.0.2.1", ("x-forwarded-for", "203.0.113.7")) == "192.0.2.1"
    assert found("testclient", ("x-forwarded-for", "203.0.113.7")) == "testclient"
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"203.0.113.7")]}
    assert client_address(scope, []) == "10.0.0.1"


def test_several_headers_are_one_list() -> None:
    chain = [("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "203.0.113.7")]
    assert found("10.0.0.1", *chain) == "203.0.113.7"


def test_two_headers_that_disagree_do_not_count() -> None:
    """The client wrote one of them, and a proxy that uses the other passed it on."""
    forged = ("forwarded", "for=198.51.100.9")
    assert found("10.0.0.1", forged, ("x-forwarded-for", "203.0.113.7")) == "10.0.0.1"
    same = ("forwarded", "for=203.0.113.7")
    assert found("10.0.0.1", same, ("x-forwarded-for", "203.0.113.7")) == "203.0.113.7"


def test_the_setting_decides_whom_the_access_log_names(
    settings: Settings, loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "access")
    trusting = settings.model_copy(update={"trusted_proxies": tuple(TRUSTED)})
    for each in (settings, trusting):
        with TestClient(create_app(each, loaded), client=("10.0.0.1", 1)) as client:
            client.get("/livez", headers={"X-Forwarded-For": "203.0.113.7"})
    lines = [record.__dict__ for record in caplog.records if record.name == "access"]
    assert [line["client"] for line in lines] == ["10.0.0.1", "203.0.113.7"]


def test_the_setting_takes_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_TRUSTED_PROXIES", "10.1.2.3/8, fd00::1")
    networks = load_settings(Settings).trusted_proxies
    assert [str(each) for each in networks] == ["10.0.0.0/8", "fd00::1/128"]
    monkeypatch.setenv("SERVING_TRUSTED_PROXIES", "proxy.example.org")
    with pytest.raises(UsageError, match="SERVING_TRUSTED_PROXIES is invalid: an address or a"):
        load_settings(Settings)
