"""The manifests of a rendered project: plain functions, and two fixtures that test files name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Render

PRODUCTION = "deploy/kubernetes/overlays/production"


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    return render(deployment="kubernetes")


@pytest.fixture(scope="module")
def manifests(project: Path) -> dict[str, Any]:
    """Every manifest that is no kustomization, by the name of its file."""
    folders = [project / "deploy" / name for name in ("kubernetes", "kserve")]
    paths = [path for folder in folders for path in folder.rglob("*.yaml")]
    return {path.name: load(path) for path in paths if path.name != "kustomization.yaml"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pods(manifests: dict[str, Any]) -> dict[str, Any]:
    """The spec of each pod that has a container, by the name of its file. KServe makes the pod of
    a model in a storage of the runtime's containers and of the fields beside `model`."""
    pod_fields = (
        "automountServiceAccountToken",
        "enableServiceLinks",
        "terminationGracePeriodSeconds",
        "containers",
    )

    def chosen(spec: dict[str, Any]) -> dict[str, Any]:
        return {name: spec[name] for name in pod_fields if name in spec}

    stored = manifests["model-in-storage.yaml"]["spec"]["predictor"]
    return {
        "deployment.yaml": manifests["deployment.yaml"]["spec"]["template"]["spec"],
        "model-in-image.yaml": chosen(manifests["model-in-image.yaml"]["spec"]["predictor"]),
        "runtime.yaml": chosen(stored) | chosen(manifests["runtime.yaml"]["spec"]),
    }


def build(folder: Path, given: list[Any] | None = None) -> list[Any]:
    """What kustomize makes of a folder; as much of kustomize as the manifests use.

    given: the resources that a component changes.
    """
    kustomization = load(folder / "kustomization.yaml")
    made = list(given or [])
    for name in kustomization.get("resources", []):
        path = folder / name
        made += build(path) if path.is_dir() else [load(path)]
    for name in kustomization.get("components", []):
        made = build(folder / name, made)
    for patch in kustomization.get("patches", []):
        change = yaml.safe_load(patch["patch"])
        (changed,) = [each for each in made if each["kind"] == change["kind"]]
        if change.pop("$patch", "") == "delete":
            made.remove(changed)
        else:
            made[made.index(changed)] = merge(changed, change)
    for resource in made:
        if "namespace" in kustomization:
            resource["metadata"]["namespace"] = kustomization["namespace"]
        if resource["kind"] == "Deployment":
            pod = resource["spec"]["template"]["spec"]
            for container in pod["containers"] + pod.get("initContainers", []):
                for image in kustomization.get("images", []):
                    assert container["image"] == image["name"]
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return made


def merge(given: Any, change: Any) -> Any:
    """A strategic merge: of mappings by key, of lists whose items have names by name."""
    if isinstance(given, dict) and isinstance(change, dict):
        merged = {key: merge(given[key], change[key]) for key in given.keys() & change.keys()}
        return given | change | merged
    if not (isinstance(given, list) and all("name" in each for each in [*given, *change])):
        return change
    new = {each["name"]: each for each in change}
    old = {each["name"]: each for each in given}
    both = {name: merge(old[name], new[name]) for name in old.keys() & new.keys()}
    first = {name: new[name] for name in new if name not in old}  # as kustomize orders them
    return list((first | old | both).values())
