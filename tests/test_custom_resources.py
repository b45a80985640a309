"""Manifests of kinds that Kubernetes does not know: KServe, KEDA, the Prometheus Operator."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import manifests as of_manifests
from .manifests import PRODUCTION, load

project = of_manifests.project
manifests = of_manifests.manifests

# Every field of a custom resource that the manifests use, as its documentation has it:
# https://prometheus-operator.dev/docs/api-reference/api/
# https://keda.sh/docs/latest/reference/scaledobject-spec/ and .../scalers/prometheus/
# https://kserve.github.io/website/docs/reference/crd-api
PREDICTOR = {
    "spec.predictor.minReplicas": int,
    "spec.predictor.maxReplicas": int,
    "spec.predictor.scaleMetric": "cpu",
    "spec.predictor.scaleTarget": int,
    "spec.predictor.deploymentStrategy.type": "RollingUpdate",
    "spec.predictor.deploymentStrategy.rollingUpdate.maxUnavailable": int,
    "spec.predictor.deploymentStrategy.rollingUpdate.maxSurge": str,
    "spec.predictor.automountServiceAccountToken": bool,
    "spec.predictor.enableServiceLinks": bool,
    "spec.predictor.terminationGracePeriodSeconds": int,
}
DOCUMENTED: dict[str, tuple[str, dict[str, Any]]] = {
    "servicemonitor.yaml": (
        "monitoring.coreos.com/v1 ServiceMonitor",
        {
            "spec.selector.matchLabels": dict,
            "spec.endpoints.port": str,
            "spec.endpoints.path": str,
            "spec.endpoints.interval": str,
        },
    ),
    "scaledobject.yaml": (
        "keda.sh/v1alpha1 ScaledObject",
        {
            "spec.scaleTargetRef.name": str,
            "spec.minReplicaCount": int,
            "spec.maxReplicaCount": int,
            "spec.fallback.failureThreshold": int,
            "spec.fallback.replicas": int,
            "spec.fallback.behavior": "currentReplicasIfHigher",
            "spec.triggers.type": str,
            "spec.triggers.name": str,
            "spec.triggers.metricType": "Utilization",
            "spec.triggers.metadata.value": str,
            "spec.triggers.metadata.serverAddress": str,
            "spec.triggers.metadata.query": str,
            "spec.triggers.metadata.threshold": str,
            "spec.triggers.metadata.ignoreNullValues": "false",
        },
    ),
    "runtime.yaml": (
        "serving.kserve.io/v1alpha1 ClusterServingRuntime",
        {
            "spec.annotations": dict,
            "spec.supportedModelFormats.name": str,
            "spec.supportedModelFormats.version": str,
            "spec.supportedModelFormats.autoSelect": bool,
            "spec.protocolVersions": "v2",
            "spec.containers": "a pod's",
        },
    ),
    "model-in-storage.yaml": (
        "serving.kserve.io/v1beta1 InferenceService",
        PREDICTOR
        | {
            "spec.predictor.model.runtime": str,
            "spec.predictor.model.modelFormat.name": str,
            "spec.predictor.model.modelFormat.version": str,
            "spec.predictor.model.protocolVersion": "v2",
            "spec.predictor.model.storageUri": str,
        },
    ),
    "model-in-image.yaml": (
        "serving.kserve.io/v1beta1 InferenceService",
        PREDICTOR | {"spec.predictor.containers": "a pod's"},
    ),
}


@pytest.mark.parametrize("file", DOCUMENTED)
def test_a_custom_resource_has_documented_fields_and_no_others(
    file: str, manifests: dict[str, Any]
) -> None:
    resource = manifests[file]
    kind, documented = DOCUMENTED[file]
    assert f"{resource['apiVersion']} {resource['kind']}" == kind
    used = set()
    for path, value in leaves({"spec": resource["spec"]}, documented):
        expected = documented[path]
        used.add(path)
        if isinstance(expected, type):
            assert type(value) is expected, path
        elif expected != "a pod's":
            assert value == expected, path
    assert used == documented.keys()


def leaves(value: Any, stop: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value and its path; what is in a list has the path of the list."""
    if isinstance(value, dict) and path not in stop:
        for name, each in value.items():
            yield from leaves(each, stop, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list) and stop.get(path) != "a pod's":
        for each in value:
            yield from leaves(each, stop, path)
    else:
        yield path, value


def test_the_queue_that_keda_asks_about_is_one_that_the_service_reports(
    manifests: dict[str, Any], project: Path
) -> None:
    exposition = project / "engine/src/serving_engine/telemetry/exposition.py"
    reported = exposition.read_text(encoding="utf-8")
    namespace = load(project / PRODUCTION / "kustomization.yaml")["namespace"]
    service = manifests["service.yaml"]["metadata"]["name"]
    cpu, *triggers = manifests["scaledobject.yaml"]["spec"]["triggers"]
    assert (cpu["type"], len(triggers)) == ("cpu", 2)
    for trigger in triggers:
        assert trigger["type"] == "prometheus"
        metric, labels = re.findall(r"(serving_\w+)\{(.*)\}", trigger["metadata"]["query"])[0]
        assert f'"{metric.removesuffix("_sum")}"' in reported
        assert labels == f'namespace="{namespace}", service="{service}"'


def test_kserve_is_told_of_the_format_that_the_manifest_has(
    manifests: dict[str, Any], project: Path
) -> None:
    runtime = manifests["runtime.yaml"]
    model = manifests["model-in-storage.yaml"]["spec"]["predictor"]["model"]
    (format_,) = runtime["spec"]["supportedModelFormats"]
    assert model["modelFormat"] == {name: format_[name] for name in ("name", "version")}
    assert model["runtime"] == runtime["metadata"]["name"]
    manifest = project / "engine/src/serving_engine/model_files/manifest.py"
    assert f"schema_version: Literal[{format_['version']}]" in manifest.read_text(encoding="utf-8")
