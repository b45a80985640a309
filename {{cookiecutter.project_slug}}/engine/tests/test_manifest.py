"""Reading a manifest: every invalid one is a load error, in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving_engine.model_files import load_errors
from serving_engine.model_files.manifest import read_manifest
from serving_engine.schema.signature import Column, Signature

from .models import package_iris


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = package_iris(tmp_path_factory.mktemp("good") / "model")
    document: dict[str, Any] = json.loads((directory / "manifest.json").read_bytes())
    return document


def load_error(directory: Path, text: bytes) -> load_errors.LoadError:
    """The error that `read_manifest` raises for a text; it must be one printable line."""
    (directory / "manifest.json").write_bytes(text)
    with pytest.raises(load_errors.LoadError) as caught:
        read_manifest(directory)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(f". {caught.value.remedy}")
    return caught.value


HTML = b"<!DOCTYPE html><title>Sign in</title>"
DEEP = b'{"schema_version": 1, "examples": ' + b"[" * 500_000


def replace_text(before: str, after: str) -> Callable[[bytes], bytes]:
    """Replace a part of the manifest's text, which is compact JSON."""

    def change(data: bytes) -> bytes:
        assert before.encode() in data, before
        return data.replace(before.encode(), after.encode("utf-8", "surrogatepass"), 1)

    return change


INVALID_TEXTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an empty file": (lambda _: b"", "Expecting value"),
    "a web page": (lambda _: HTML, "web page"),
    "the first half": (lambda data: data[: len(data) // 2], "line 1"),
    "an array": (lambda _: b"[]", "schema_version"),
    "null": (lambda _: b"null", "schema_version"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "can't decode"),
    "not UTF-8": (lambda data: data + b"\xff", "can't decode"),
    "a byte-order mark": (lambda data: b"\xef\xbb\xbf" + data, "BOM"),
    "a lone surrogate": (replace_text('"test"', '"\\ud800"'), "surrogates"),
    "unclosed nesting": (lambda _: DEEP, "recursion"),
    "deep nesting": (
        replace_text('"examples":', '"x":' + "[" * 300 + "]" * 300 + ',"examples":'),
        "ecursion",
    ),
    "NaN": (replace_text("5.1", "NaN"), "NaN is not a finite number"),
    "infinity": (replace_text("5.1", "-Infinity"), "not a finite number"),
    "a number beyond floats": (replace_text("5.1", "1e999"), "not a finite number"),
    "a number of 5000 digits": (replace_text('"size":', '"size":' + "9" * 5000), "4300"),
    "a number over 64 bits": (replace_text('"size":', '"size":' + "9" * 30), "64-bit"),
    "two members of the same name": (
        replace_text('"size":', '"size":1,"size":'),
        "two members named 'size'",
    ),
    "over 1 MiB": (lambda data: data + b" " * 2**20, "1 MiB"),
    "version true": (replace_text('"schema_version":1', '"schema_version":true'), "schema_version"),
    "version 1.0": (replace_text('"schema_version":1', '"schema_version":1.0'), "schema_version"),
    "version 0": (replace_text('"schema_version":1', '"schema_version":0'), "schema_version"),
    "text for a number": (replace_text('"size":', '"size":"1","x":'), "artifact.size"),
    "a number for text": (replace_text('"name":"test"', '"name":5'), "name: "),
    "control characters": (replace_text('"name":"test"', '"name":"a\\nb"'), "name: "),
    "control characters in a version": (
        replace_text('"skops":"', '"skops":"\\n'),
        "built_with.skops",
    ),
    "an unknown member": (replace_text('"name":', '"nom":"x","name":'), "nom: "),
    "an unknown nested member": (replace_text('"size":', '"sise":1,"size":'), "artifact.sise: "),
    "a name with line breaks": (
        replace_text('"name":', '"a\\r\\nb\\u001b[2J":1,"name":'),
        "a\\r\\nb\\x1b[2J",
    ),
    "an upper-case checksum": (
        lambda data: data.replace(b'"sha256":"', b'"sha256":"A'),
        ".sha256",
    ),
    "no examples": (lambda data: data[: data.index(b'"examples"')] + b'"examples":[]}', "examples"),
    "two inputs of the same name": (
        replace_text('"name":"sepal_width"', '"name":"sepal_length"'),
        "two inputs",
    ),
    "two labels of the same name": (replace_text('"setosa","versi', '"1",1,"versi'), "two classes"),
    **{
        f"the path {path!r}": (replace_text('"model.skops"', json.dumps(path)), "artifact.file")
        for path in ("../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", ".x", "C:x", "x\n", "x\0")
    },
}


@pytest.mark.parametrize("name", INVALID_TEXTS)
def test_an_invalid_text_is_an_invalid_manifest(
    name: str, good: dict[str, Any], tmp_path: Path
) -> None:
    change, text = INVALID_TEXTS[name]
    error = load_error(tmp_path, change(json.dumps(good, separators=(",", ":")).encode()))
    assert type(error) is load_errors.ManifestInvalid
    assert text in str(error)


def test_every_required_member_that_is_missing_is_named(
    good: dict[str, Any], tmp_path: Path
) -> None:
    optional = {"description", "license", "tolerance", "source", "observed"}
    for name in good.keys() - optional:
        without = {other: value for other, value in good.items() if other != name}
        assert name in str(load_error(tmp_path, json.dumps(without).encode()))
    required = {name: value for name, value in good.items() if name not in optional}
    (tmp_path / "manifest.json").write_text(json.dumps(required))
    assert read_manifest(tmp_path).name == "test"


def test_the_error_of_a_later_version_says_to_upgrade(tmp_path: Path) -> None:
    error = load_error(tmp_path, b'{"schema_version": 2, "format": "unknown"}')
    assert type(error) is load_errors.ManifestNewer
    assert "Upgrade the service" in str(error)


def test_two_outputs_of_the_same_name_are_invalid() -> None:
    inputs = [Column(name="a")]
    with pytest.raises(ValueError, match="two outputs"):
        Signature(layout="array", inputs=inputs, task="regression", outputs=["y", "y"])
