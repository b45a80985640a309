"""Model directories that are wrong in one way each."""

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

Spoil = Callable[[Path], object]


def artifact(model: Path) -> Path:
    return model / "model.skops"


def read(model: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((model / "manifest.json").read_bytes())
    return document


def write(model: Path, document: Any) -> None:
    (model / "manifest.json").write_text(json.dumps(document), encoding="utf-8")


def record(**fields: Any) -> Spoil:
    """Change members of the manifest's record of the artifact."""

    def spoil(model: Path) -> None:
        document = read(model)
        document["artifact"].update(fields)
        write(model, document)

    return spoil


def manifest(**fields: Any) -> Spoil:
    """Change members of the manifest."""
    return lambda model: write(model, read(model) | fields)


def built_with(**fields: str) -> Spoil:
    return lambda model: manifest(built_with=read(model)["built_with"] | fields)(model)


def replaced(data: bytes, **fields: Any) -> Spoil:
    """Another artifact that the manifest vouches for."""
    about = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **fields}

    def spoil(model: Path) -> None:
        record(**about)(model)
        (model / read(model)["artifact"]["file"]).write_bytes(data)

    return spoil


def holding(value: Any, **fields: Any) -> Spoil:
    """An artifact that holds something else."""
    return replaced(skops.io.dumps(value), **fields)


def linked(target: str) -> Spoil:
    def spoil(model: Path) -> None:
        artifact(model).unlink()
        artifact(model).symlink_to(target)

    return spoil


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def lying(real: int, said: int, summed: int) -> bytes:
    """An archive whose one member expands to more than its headers say, with a sum to match."""
    data = archive({"schema.json": bytes(real)}, zipfile.ZIP_DEFLATED)
    for number, other in ((real, said), (zlib.crc32(bytes(real)), zlib.crc32(bytes(summed)))):
        assert data.count(number.to_bytes(4, "little")) == 2
        data = data.replace(number.to_bytes(4, "little"), other.to_bytes(4, "little"))
    return data


def edited(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the schema inside of the artifact."""

    def spoil(model: Path) -> None:
        members = unpacked(artifact(model).read_bytes())
        schema = json.loads(members["schema.json"])
        change(schema)
        members["schema.json"] = json.dumps(schema).encode()
        replaced(archive(members))(model)

    return spoil


def fitted_by(version: str) -> Spoil:
    """An artifact of another scikit-learn, under a manifest that does not say so."""

    def spoil(model: Path) -> None:
        members = unpacked(artifact(model).read_bytes())
        members["schema.json"] = members["schema.json"].replace(
            __version__.encode(), version.encode()
        )
        replaced(archive(members))(model)

    return spoil


def without_a_column(model: Path) -> None:
    document = read(model)
    name = document["signature"]["inputs"].pop()["name"]
    for example in document["examples"]:
        del example["input"][name]
    write(model, document)


def signature(**fields: Any) -> Spoil:
    return lambda model: manifest(signature=read(model)["signature"] | fields)(model)


def first_example(**fields: Any) -> Spoil:
    def spoil(model: Path) -> None:
        document = read(model)
        document["examples"][0].update(fields)
        write(model, document)

    return spoil
