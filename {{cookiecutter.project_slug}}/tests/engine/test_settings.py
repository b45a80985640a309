"""Settings: where they come from, and what is refused."""

import pytest

from {{ cookiecutter.__package_name }}.errors import UsageError
from {{ cookiecutter.__package_name }}.settings import Settings, load_settings


def test_arguments_beat_variables_and_variables_beat_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().port == 8000
    monkeypatch.setenv("SERVING_PORT", "1234")
    assert load_settings().port == 1234
    assert load_settings(port="1235", host=None).port == 1235


@pytest.mark.parametrize(
    ("platform", "own", "field"),
    [("PORT", "SERVING_PORT", "port"), ("WEB_CONCURRENCY", "SERVING_WORKERS", "workers")],
)
def test_what_platforms_set_is_a_fallback(
    monkeypatch: pytest.MonkeyPatch, platform: str, own: str, field: str
) -> None:
    monkeypatch.setenv(platform, "43")
    assert getattr(load_settings(), field) == 43
    monkeypatch.setenv(own, "12")
    assert getattr(load_settings(), field) == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVING_SERVICE_HOST", "10.0.0.1"),
        ("SERVING_SERVICE_PORT", "80"),
        ("SERVING_SERVICE_PORT_HTTP", "80"),
        ("SERVING_PORT", "tcp://10.0.0.1:80"),
        ("SERVING_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SERVING_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_injects_is_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().port == 8000


@pytest.mark.parametrize("name", ["SERVING_MODEL", "SERVING_PORTS", "SERVING_"])
def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret-value")
    with pytest.raises(UsageError, match=f"^{name} is not a setting") as refused:
        load_settings()
    assert "secret-value" not in str(refused.value)


def test_a_value_that_does_not_fit_is_refused_without_being_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVING_MAX_ROWS", "secret-value")
    with pytest.raises(UsageError, match="SERVING_MAX_ROWS") as refused:
        load_settings()
    assert "secret-value" not in str(refused.value)


def test_every_setting_is_explained() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
