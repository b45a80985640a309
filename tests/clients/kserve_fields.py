"""Compares manifests with the classes of KServe's SDK, which are made of its resource definitions.

    python kserve_fields.py MANIFEST.yaml...

Prints each field that the classes do not have; nothing if they have all.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import kserve
import kubernetes.client
import yaml

PLAIN = {"str", "int", "bool", "object"}


def unknown(value: object, kind: str, path: str) -> Iterator[str]:
    """The paths of fields that the class of this name does not have, nor the classes below it."""
    if many := re.fullmatch(r"(?i:list|dict)[\[(](?:str, )?(\w+)[\])]", kind):
        for number, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from unknown(each, many[1], f"{path}[{number}]")
    elif kind not in PLAIN:
        known = class_of(kind)
        names = {name: attribute for attribute, name in known.attribute_map.items()}
        for name, each in value.items():
            if name in names:
                yield from unknown(each, known.openapi_types[names[name]], f"{path}.{name}")
            else:
                yield f"{path}.{name}"


def class_of(kind: str) -> type:
    short = kind.removeprefix("K8sIoApiAppsV1").removeprefix("V1")
    for module, name in ((kserve, kind), (kubernetes.client, f"V1{short}")):
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(kind)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        manifest = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        version = manifest["apiVersion"].partition("/")[2].capitalize()
        kind = manifest["kind"]
        print(*unknown(manifest, f"{version}{kind}", kind), sep="\n", end="")
