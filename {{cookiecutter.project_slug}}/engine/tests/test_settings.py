"""Settings: their sources, and the errors of unknown and invalid ones."""

import pytest
from serving_engine.errors import UsageError
from serving_engine.settings import load_settings

from .example_service.settings import Settings


def test_arguments_beat_variables_and_variables_beat_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings(Settings).port == 8000
    monkeypatch.setenv("SERVING_PORT", "1234")
    assert load_settings(Settings).port == 1234
    assert load_settings(Settings, port="1235", host=None).port == 1235


@pytest.mark.parametrize(
    ("platform_variable", "variable", "field"),
    [("PORT", "SERVING_PORT", "port"), ("WEB_CONCURRENCY", "SERVING_WORKERS", "workers")],
)
def test_variables_of_platforms_are_a_fallback(
    monkeypatch: pytest.MonkeyPatch, platform_variable: str, variable: str, field: str
) -> None:
    monkeypatch.setenv(platform_variable, "43")
    assert getattr(load_settings(Settings), field) == 43
    monkeypatch.setenv(variable, "12")
    assert getattr(load_settings(Settings), field) == 12


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
def test_variables_that_kubernetes_injects_are_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings(Settings).port == 8000


@pytest.mark.parametrize("name", ["SERVING_MODEL", "SERVING_PORTS", "SERVING_"])
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret-value")
    with pytest.raises(UsageError, match=f"^{name} is an unknown setting") as caught:
        load_settings(Settings)
    assert "secret-value" not in str(caught.value)


def test_an_invalid_value_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVING_MAX_ROWS", "secret-value")
    with pytest.raises(UsageError, match="SERVING_MAX_ROWS is invalid") as caught:
        load_settings(Settings)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("PORT", "abc", "it must be a whole number."),
        ("SERVING_PORT", "70000", "it must be at most 65535."),
        ("WEB_CONCURRENCY", "0", "it must be more than 0."),
        ("SERVING_REQUEST_TIMEOUT", "5s", "it must be a number."),
        ("SERVING_DOCS", "maybe", "it must be true or false."),
        (
            "SERVING_LOG_LEVEL",
            "Warn",
            "it must be 'debug', 'info', 'warning' or 'error'. Did you mean warning?",
        ),
        ("SERVING_LOG_FORMAT", "lines", "it must be 'auto', 'json' or 'text'."),
    ],
)
def test_an_invalid_value_is_answered_with_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, text: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        load_settings(Settings)
    assert str(caught.value) == f"{variable} is invalid: {text}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SERVING_WORKER", "SERVING_WORKERS"),
        ("SERVING_LOGLEVEL", "SERVING_LOG_LEVEL"),
        ("SERVING_MODEL", "SERVING_MODEL_DIR"),
        ("SERVING_XYZ", None),
    ],
)
def test_the_nearest_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str | None
) -> None:
    monkeypatch.setenv(name, "1")
    question = f" Did you mean {near}?" if near else ""
    with pytest.raises(UsageError) as caught:
        load_settings(Settings)
    assert str(caught.value).startswith(f"{name} is an unknown setting.{question} Remove it")


def test_an_invalid_argument_is_named_as_it_was_typed() -> None:
    with pytest.raises(UsageError, match=r"^--port is invalid: it must be a whole number\.$"):
        load_settings(Settings, port="abc")


FLOATS = [name for name, field in Settings.model_fields.items() if "float" in str(field.annotation)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", "Infinity"])
@pytest.mark.parametrize("name", FLOATS)
def test_a_number_that_is_not_finite_is_invalid(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"SERVING_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"^{variable} is invalid"):
        load_settings(Settings)


@pytest.mark.parametrize("variable", ["PORT", "AIP_HTTP_PORT", "SERVING_PORT"])
def test_an_invalid_value_is_reported_with_the_variable_that_was_set(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "abc")
    with pytest.raises(UsageError, match=f"^{variable} is invalid"):
        load_settings(Settings)


def test_an_injected_port_does_not_hide_the_variable_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVING_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("PORT", "abc")
    with pytest.raises(UsageError, match=r"^PORT is invalid"):
        load_settings(Settings)


@pytest.mark.parametrize("keys", ["a" * 16 + ", " + "b" * 16, "a" * 16 + "\n"])
def test_a_space_between_keys_is_named(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("SERVING_API_KEYS", keys)
    with pytest.raises(UsageError, match=r"SERVING_API_KEYS is invalid: a space or a line end"):
        load_settings(Settings)


def test_a_level_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("SERVING_LOG_FORMAT", "JSON")
    settings = load_settings(Settings)
    assert (settings.log_level, settings.log_format) == ("debug", "json")


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
