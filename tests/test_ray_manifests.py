"""What a project for Ray deploys by: one Serve config, restricted pods, numbers that add up."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from .conftest import Render
from .manifests import load
from .test_custom_resources import leaves

POD = "spec.rayClusterConfig.{}.template.spec"
HEAD, WORKERS = POD.format("headGroupSpec"), POD.format("workerGroupSpecs")

# Every field that the manifest uses, as its documentation has it:
# https://ray-project.github.io/kuberay/reference/api/
DOCUMENTED = {
    "spec.serveConfigV2": str,
    "spec.rayClusterConfig.rayVersion": str,
    "spec.rayClusterConfig.headGroupSpec.rayStartParams": dict,
    "spec.rayClusterConfig.workerGroupSpecs.groupName": str,
    "spec.rayClusterConfig.workerGroupSpecs.replicas": int,
    "spec.rayClusterConfig.workerGroupSpecs.minReplicas": int,
    "spec.rayClusterConfig.workerGroupSpecs.maxReplicas": int,
    "spec.rayClusterConfig.workerGroupSpecs.rayStartParams": dict,
    HEAD: dict,
    WORKERS: dict,
}


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    return render(deployment="ray-serve")


@pytest.fixture(scope="module")
def service(project: Path) -> dict[str, Any]:
    return load(project / "deploy/ray/rayservice.yaml")


@pytest.fixture(scope="module")
def config(project: Path) -> dict[str, Any]:
    return load(project / "deploy/ray/serve.yaml")


def test_the_ray_service_has_documented_fields_and_no_others(service: dict[str, Any]) -> None:
    assert f"{service['apiVersion']} {service['kind']}" == "ray.io/v1 RayService"
    found = dict(leaves({"spec": service["spec"]}, DOCUMENTED))
    assert {path: type(value) for path, value in found.items()} == DOCUMENTED
    for name in ("headGroupSpec", "workerGroupSpecs"):
        params = found[f"spec.rayClusterConfig.{name}.rayStartParams"]
        assert all(isinstance(value, str) for value in params.values())


def test_the_ray_service_deploys_what_serve_deploy_does(
    service: dict[str, Any], config: dict[str, Any]
) -> None:
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == config


def test_the_pods_are_valid_and_restricted(service: dict[str, Any], project: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    pods = dict(leaves({"spec": service["spec"]}, DOCUMENTED))
    for pod in (pods[HEAD], pods[WORKERS]):
        document = {"apiVersion": "v1", "kind": "Pod", "spec": pod}
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        (container,) = pod["containers"]
        rights = pod["securityContext"] | container["securityContext"]
        assert rights["runAsNonRoot"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"USER {rights['runAsUser']}:{rights['runAsGroup']}\n" in dockerfile
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_workers_have_room_for_every_replica(
    service: dict[str, Any], config: dict[str, Any], project: Path
) -> None:
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    cores = group["replicas"] * int(group["rayStartParams"]["num-cpus"])
    most = deployment["autoscaling_config"]["max_replicas"]
    assert most * deployment["ray_actor_options"]["num_cpus"] <= cores
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == group["rayStartParams"]["num-cpus"]
    assert container["ports"][0]["containerPort"] == config["http_options"]["port"]
    settings = (project / "engine/src/serving_engine/settings.py").read_text(encoding="utf-8")
    drain, timeout = (
        float(re.search(rf"^    {name}: .* = ([\d.]+)$", settings, re.M)[1])
        for name in ("drain_timeout", "request_timeout")
    )
    assert drain < group["template"]["spec"]["terminationGracePeriodSeconds"]
    assert timeout < config["http_options"]["request_timeout_s"]
