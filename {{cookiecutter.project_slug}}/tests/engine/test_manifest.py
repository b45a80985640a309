"""Every way in which a manifest can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package_name }}.artifact import refusals
from {{ cookiecutter.__package_name }}.artifact.manifest import read_manifest
from {{ cookiecutter.__package_name }}.schema.signature import Column, Signature

from .models import package_iris


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = package_iris(tmp_path_factory.mktemp("good") / "model")
    document: dict[str, Any] = json.loads((directory / "manifest.json").read_bytes())
    return document


def refusal(directory: Path, text: bytes) -> refusals.Refusal:
    """What `read_manifest` raises for this text; it must be one printable line."""
    (directory / "manifest.json").write_bytes(text)
    with pytest.raises(refusals.Refusal) as caught:
        read_manifest(directory)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(f". {caught.value.remedy}")
    return caught.value


HTML = b"<!DOCTYPE html><title>Sign in</title>"
DEEP = b'{"schema_version": 1, "examples": ' + b"[" * 500_000


def raw(before: str, after: str) -> Callable[[bytes], bytes]:
    """Replace some text of the manifest, which is compact JSON."""

    def change(data: bytes) -> bytes:
        assert before.encode() in data, before
        return data.replace(before.encode(), after.encode("utf-8", "surrogatepass"), 1)

    return change


BAD_TEXTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "Expecting value"),
    "a web page": (lambda _: HTML, "web page"),
    "half of it": (lambda data: data[: len(data) // 2], "line 1"),
    "an array": (lambda _: b"[]", "schema_version"),
    "null": (lambda _: b"null", "schema_version"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "can't decode"),
    "not UTF-8": (lambda data: data + b"\xff", "can't decode"),
    "a byte-order mark": (lambda data: b"\xef\xbb\xbf" + data, "BOM"),
    "a lone surrogate": (raw('"test"', '"\\ud800"'), "surrogates"),
    "endless nesting": (lambda _: DEEP, "recursion"),
    "deep nesting": (
        raw('"examples":', '"x":' + "[" * 300 + "]" * 300 + ',"examples":'),
        "ecursion",
    ),
    "NaN": (raw("5.1", "NaN"), "NaN is not a finite number"),
    "infinity": (raw("5.1", "-Infinity"), "not a finite number"),
    "a number beyond floats": (raw("5.1", "1e999"), "not a finite number"),
    "a number without end": (raw('"size":', '"size":' + "9" * 5000), "4300"),
    "a number over 64 bits": (raw('"size":', '"size":' + "9" * 30), "64-bit"),
    "two members of one name": (raw('"size":', '"size":1,"size":'), "two members 'size'"),
    "over 1 MiB": (lambda data: data + b" " * 2**20, "1 MiB"),
    "version true": (raw('"schema_version":1', '"schema_version":true'), "schema_version"),
    "version 1.0": (raw('"schema_version":1', '"schema_version":1.0'), "schema_version"),
    "version 0": (raw('"schema_version":1', '"schema_version":0'), "schema_version"),
    "text for a number": (raw('"size":', '"size":"1","x":'), "artifact.size"),
    "a number for text": (raw('"name":"test"', '"name":5'), "name: "),
    "control characters": (raw('"name":"test"', '"name":"a\\nb"'), "name: "),
    "control characters in a version": (raw('"skops":"', '"skops":"\\n'), "built_with.skops"),
    "an unknown member": (raw('"name":', '"nom":"x","name":'), "nom: "),
    "an unknown member further down": (raw('"size":', '"sise":1,"size":'), "artifact.sise: "),
    "a name that breaks lines": (
        raw('"name":', '"a\\r\\nb\\u001b[2J":1,"name":'),
        "a\\r\\nb\\x1b[2J",
    ),
    "an upper-case hash": (
        lambda data: data.replace(b'"sha256":"', b'"sha256":"A'),
        ".sha256",
    ),
    "no examples": (lambda data: data[: data.index(b'"examples"')] + b'"examples":[]}', "examples"),
    "two inputs of one name": (raw('"name":"sepal_width"', '"name":"sepal_length"'), "two inputs"),
    "two labels of one name": (raw('"setosa","versi', '"1",1,"versi'), "two classes"),
    **{
        f"the path {path!r}": (raw('"model.skops"', json.dumps(path)), "artifact.file")
        for path in ("../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", ".x", "C:x", "x\n", "x\0")
    },
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_what_is_no_manifest_is_refused(name: str, good: dict[str, Any], tmp_path: Path) -> None:
    change, text = BAD_TEXTS[name]
    error = refusal(tmp_path, change(json.dumps(good, separators=(",", ":")).encode()))
    assert type(error) is refusals.ManifestInvalid
    assert text in str(error)


def test_every_member_that_must_be_there_is_missed(good: dict[str, Any], tmp_path: Path) -> None:
    optional = {"description", "license", "tolerance", "source"}
    for name in good.keys() - optional:
        rest = {other: value for other, value in good.items() if other != name}
        assert name in str(refusal(tmp_path, json.dumps(rest).encode()))
    rest = {name: value for name, value in good.items() if name not in optional}
    (tmp_path / "manifest.json").write_text(json.dumps(rest))
    assert read_manifest(tmp_path).name == "test"


def test_a_later_version_says_to_upgrade_whatever_else_is_in_it(tmp_path: Path) -> None:
    error = refusal(tmp_path, b'{"schema_version": 2, "format": "of tomorrow"}')
    assert type(error) is refusals.ManifestNewer
    assert "Upgrade the service" in str(error)


def test_two_outputs_of_one_name_are_refused() -> None:
    inputs = [Column(name="a")]
    with pytest.raises(ValueError, match="two outputs"):
        Signature(layout="array", inputs=inputs, task="regression", outputs=["y", "y"])
