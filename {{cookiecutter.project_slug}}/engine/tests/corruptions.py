"""Corruptions: each makes a model directory invalid in one way."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skops.io
from sklearn import __version__

Corruption = Callable[[Path], object]
"""Corrupts the model directory at a path."""


def artifact(model: Path) -> Path:
    return model / "model.skops"


def read(model: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((model / "manifest.json").read_bytes())
    return document


def write(model: Path, document: Any) -> None:
    (model / "manifest.json").write_text(json.dumps(document), encoding="utf-8")


def record(**fields: Any) -> Corruption:
    """Change members of the manifest's record of the artifact."""

    def corrupt(model: Path) -> None:
        document = read(model)
        document["artifact"].update(fields)
        write(model, document)

    return corrupt


def manifest(**fields: Any) -> Corruption:
    """Change members of the manifest."""
    return lambda model: write(model, read(model) | fields)


def built_with(**fields: str) -> Corruption:
    return lambda model: manifest(built_with=read(model)["built_with"] | fields)(model)


def replace_artifact(data: bytes, **fields: Any) -> Corruption:
    """Another artifact, with its size and SHA-256 in the manifest."""
    fields = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **fields}

    def corrupt(model: Path) -> None:
        record(**fields)(model)
        (model / read(model)["artifact"]["file"]).write_bytes(data)

    return corrupt


def pack_object(value: Any, **fields: Any) -> Corruption:
    """A skops file of another object."""
    return replace_artifact(skops.io.dumps(value), **fields)


def link_artifact(target: str) -> Corruption:
    def corrupt(model: Path) -> None:
        artifact(model).unlink()
        artifact(model).symlink_to(target)

    return corrupt


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as new:
        for name, data in members.items():
            new.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def false_size(real: int, stated: int, summed: int) -> bytes:
    """An archive with one member of `real` zeros, whose headers state the size `stated` and the
    CRC-32 of `summed` zeros."""
    data = archive({"schema.json": bytes(real)}, zipfile.ZIP_DEFLATED)
    for number, other in ((real, stated), (zlib.crc32(bytes(real)), zlib.crc32(bytes(summed)))):
        assert data.count(number.to_bytes(4, "little")) == 2
        data = data.replace(number.to_bytes(4, "little"), other.to_bytes(4, "little"))
    return data


def edit_schema_text(change: Callable[[bytes], bytes]) -> Corruption:
    """Change the text of the schema in the artifact."""

    def corrupt(model: Path) -> None:
        members = unpack(artifact(model).read_bytes())
        members["schema.json"] = change(members["schema.json"])
        replace_artifact(archive(members))(model)

    return corrupt


def edit_schema(change: Callable[[dict[str, Any]], object]) -> Corruption:
    """Change the schema in the artifact in place."""

    def change_text(text: bytes) -> bytes:
        schema = json.loads(text)
        change(schema)
        return json.dumps(schema).encode()

    return edit_schema_text(change_text)


def fitted_with(version: str) -> Corruption:
    """An artifact of another release of scikit-learn than the manifest names."""
    return edit_schema_text(lambda text: text.replace(__version__.encode(), version.encode()))


def remove_column(model: Path) -> None:
    document = read(model)
    name = document["signature"]["inputs"].pop()["name"]
    for example in document["examples"]:
        del example["input"][name]
    write(model, document)


def signature(**fields: Any) -> Corruption:
    return lambda model: manifest(signature=read(model)["signature"] | fields)(model)


def first_example(**fields: Any) -> Corruption:
    def corrupt(model: Path) -> None:
        document = read(model)
        document["examples"][0].update(fields)
        write(model, document)

    return corrupt
