"""The manifests for Kubernetes: valid, restricted, and with budgets that add up."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from . import manifests as of_manifests
from . import processes
from .conftest import Render
from .manifests import PRODUCTION, build, pods

project = of_manifests.project
manifests = of_manifests.manifests

OLDEST = "1.30"
"""The release of Kubernetes from which on a preStop hook can sleep."""
RELEASES = [OLDEST, kubernetes_validate.latest_version()]
CORE = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"]


@pytest.fixture(scope="module")
def settings(project: Path) -> dict[str, float]:
    """The defaults of the engine's settings that are numbers."""
    path = project / "engine/src/serving_engine/settings.py"
    found = re.findall(r"^    (\w+): .* = ([\d.]+)$", path.read_text(encoding="utf-8"), re.M)
    return {name: float(value) for name, value in found}


POD_FILES = ["deployment.yaml", "model-in-image.yaml", "runtime.yaml"]
each_pod = pytest.mark.parametrize("file", POD_FILES)


@pytest.mark.parametrize("release", RELEASES)
def test_a_strict_api_server_would_accept_each_core_resource(
    release: str, manifests: dict[str, Any]
) -> None:
    core = [each for each in manifests.values() if each["kind"] in CORE]
    assert sorted(each["kind"] for each in core) == sorted(CORE)
    for resource in core:
        kubernetes_validate.validate(resource, release, strict=True)
        unknown = resource | {"spec": resource["spec"] | {"replica": 2}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(unknown, release, strict=True)


@each_pod
@pytest.mark.parametrize("release", RELEASES)
def test_a_strict_api_server_would_accept_each_pod(
    release: str, file: str, manifests: dict[str, Any]
) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": pods(manifests)[file]}
    kubernetes_validate.validate(pod, release, strict=True)


@each_pod
def test_a_pod_keeps_to_the_restricted_profile(
    file: str, manifests: dict[str, Any], project: Path
) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod = pods(manifests)[file]
    (container,) = pod["containers"]
    rights = pod.get("securityContext", {}) | container["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert rights["readOnlyRootFilesystem"] is True
    assert not {"volumes", "hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    if "runAsUser" in rights:
        assert f"USER {rights['runAsUser']}:{rights['runAsGroup']}\n" in dockerfile
    assert f"EXPOSE {container['ports'][0]['containerPort']}\n" in dockerfile


@each_pod
def test_a_pod_is_given_the_time_that_its_drain_takes(
    file: str, manifests: dict[str, Any], settings: dict[str, float]
) -> None:
    pod = pods(manifests)[file]
    (container,) = pod["containers"]
    variables = {each["name"]: each["value"] for each in container.get("env", [])}
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    for name in ("drain_delay", "drain_timeout"):
        drain += float(variables.get(f"SERVING_{name.upper()}", settings[name]))
    assert drain + 5 <= pod["terminationGracePeriodSeconds"]


@each_pod
def test_probes_are_slower_than_what_the_service_does_itself(
    file: str, manifests: dict[str, Any], settings: dict[str, float]
) -> None:
    (container,) = pods(manifests)[file]["containers"]
    start, ready, live = (
        container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")
    )
    assert [probe["httpGet"]["path"] for probe in (start, ready, live)] == [
        "/livez",
        "/readyz",
        "/livez",
    ]
    assert seconds(start) > settings["load_timeout"]
    assert seconds(live) > 2 * settings["hang_timeout"]
    assert seconds(ready) < seconds(live)
    if file == "deployment.yaml":
        assert manifests[file]["spec"]["progressDeadlineSeconds"] > seconds(start)


def seconds(probe: dict[str, Any]) -> int:
    """How long a pod may fail a probe before it counts."""
    return probe["periodSeconds"] * probe["failureThreshold"]


def test_an_update_never_has_less_capacity(manifests: dict[str, Any]) -> None:
    strategies = [
        manifests["deployment.yaml"]["spec"]["strategy"],
        manifests["model-in-image.yaml"]["spec"]["predictor"]["deploymentStrategy"],
        manifests["model-in-storage.yaml"]["spec"]["predictor"]["deploymentStrategy"],
    ]
    for strategy in strategies:
        assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "25%"}


def test_one_name_holds_everything_together(manifests: dict[str, Any]) -> None:
    deployment = manifests["deployment.yaml"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    selectors = [deployment["selector"]["matchLabels"]]
    selectors += [manifests["service.yaml"]["spec"]["selector"]]
    selectors += [manifests["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"]]
    selectors += [manifests["networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"]]
    selectors += [each["labelSelector"]["matchLabels"] for each in spread]
    assert selectors == [labels] * len(selectors)
    service = manifests["service.yaml"]
    monitor = manifests["servicemonitor.yaml"]["spec"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    (port,) = service["spec"]["ports"]
    (exposed,) = deployment["template"]["spec"]["containers"][0]["ports"]
    assert monitor["endpoints"][0]["port"] == port["name"]
    assert port["targetPort"] == exposed["name"]
    assert manifests["networkpolicy.yaml"]["spec"]["ingress"] == [
        {"ports": [{"port": exposed["name"]}]}
    ]
    for scaler in ("horizontalpodautoscaler.yaml", "scaledobject.yaml"):
        target = manifests[scaler]["spec"]["scaleTargetRef"]["name"]
        assert target == manifests["deployment.yaml"]["metadata"]["name"]


def test_nothing_leaves_a_pod(manifests: dict[str, Any]) -> None:
    policy = manifests["networkpolicy.yaml"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


@pytest.fixture(scope="module", params=["cpu", "keda"])
def production(request: pytest.FixtureRequest, project: Path, tmp_path_factory: Any) -> Path:
    """The folder of the production overlay: as it comes, and with KEDA, as its comment says."""
    deploy = shutil.copytree(project / "deploy", tmp_path_factory.mktemp("kustomize") / "deploy")
    overlay: Path = deploy.parent / PRODUCTION
    if request.param == "keda":
        file = overlay / "kustomization.yaml"
        text = file.read_text(encoding="utf-8")
        chosen = re.sub(r"^# (components:|  - .*)$", r"\1", text, flags=re.M)
        assert chosen != text
        file.write_text(chosen, encoding="utf-8")
    return overlay


def test_production_has_one_autoscaler_and_an_image_of_a_registry(
    production: Path, request: pytest.FixtureRequest
) -> None:
    built = {each["kind"]: each for each in build(production)}
    scalers = built.keys() & {"HorizontalPodAutoscaler", "ScaledObject"}
    keda = "keda" in request.node.name
    assert scalers == {"ScaledObject" if keda else "HorizontalPodAutoscaler"}
    assert built.keys() - scalers == {*CORE, "ServiceMonitor"} - {"HorizontalPodAutoscaler"}
    assert {each["metadata"]["namespace"] for each in built.values()} == {"iris-service"}
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.org/iris-service:0.1.0"


@pytest.fixture(scope="module")
def with_home(project: Path, tmp_path_factory: Any) -> Path:
    """The production overlay with the component that docs/model-home.md adds to it."""
    page = (project / "docs/model-home.md").read_text(encoding="utf-8")
    (component,) = re.findall(r"```yaml\n(components:\n.*?)```", page, re.S)
    deploy = shutil.copytree(project / "deploy", tmp_path_factory.mktemp("home") / "deploy")
    overlay: Path = deploy.parent / PRODUCTION
    with (overlay / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write(component)
    return overlay


@pytest.mark.parametrize("release", RELEASES)
def test_a_pod_can_fetch_its_model_from_where_it_is_kept(release: str, with_home: Path) -> None:
    built = {each["kind"]: each for each in build(with_home)}
    for kind in ("Deployment", "NetworkPolicy", "ServiceAccount"):
        kubernetes_validate.validate(built[kind], release, strict=True)
    pod = built["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == built["ServiceAccount"]["metadata"]["name"]
    (first,) = pod["initContainers"]
    (service,) = pod["containers"]
    assert first["image"] == service["image"] == "registry.example.org/iris-service:0.1.0"
    for key in ("securityContext", "resources"):
        assert first[key] == service[key]
    places = [
        {each["name"]: each["value"] for each in container["env"]}["SERVING_MODEL_DIR"]
        for container in (first, service)
    ]
    (written,), (read,) = first["volumeMounts"], service["volumeMounts"]
    assert places == [written["mountPath"], read["mountPath"]] == ["/models"] * 2
    assert (written.get("readOnly"), read["readOnly"]) == (None, True)
    assert [volume["name"] for volume in pod["volumes"]] == [written["name"]] == [read["name"]]
    assert len(service["env"]) == 3  # those of the base stay
    (way_out,) = built["NetworkPolicy"]["spec"]["egress"]
    assert {rule["port"] for rule in way_out["ports"]} == {53, 443}


def test_kustomize_builds_the_same(production: Path, with_home: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("this machine has no kubectl")
    for overlay in (production, with_home):
        assert built_by_kustomize(overlay) == {each["kind"]: each for each in build(overlay)}


def built_by_kustomize(folder: Path) -> dict[str, Any]:
    made = processes.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=True
    )
    return {each["kind"]: each for each in yaml.safe_load_all(made.stdout)}


def test_without_open_inference_there_is_no_kserve(generate: Render) -> None:
    project = generate(deployment="kubernetes", protocols="none")
    assert {path.name for path in (project / "deploy").iterdir()} == {"kubernetes", "observability"}
    for page in (*project.glob("*.md"), *project.glob("docs/*.md")):
        assert "kserve" not in page.read_text(encoding="utf-8").lower(), page
