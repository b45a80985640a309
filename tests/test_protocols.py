"""What existing clients and platforms do with a service that speaks to all of them.

Each client is installed into an environment of its own, on first use.
"""

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import processes
from .conftest import ROOT, Render, Run, clean_environment, passed, source_of
from .environments import python_with
from .servers import free_port
from .services import address_of

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

CLIENTS = ROOT / "tests" / "clients"
PATIENCE = 60
REQUIREMENTS = {
    "triton": ["tritonclient[http]>=2.60", "numpy"],
    "kserve": ["kserve>=0.15"],
    "mlflow": ["mlflow-skinny>=3.4", "pandas", "scipy"],
}
LAYOUTS = ["array", "frame", "text"]


@pytest.fixture(scope="session")
def speaking(generate: Render) -> Path:
    """A project of every protocol, with the sample model."""
    return generate(protocols="all")


@pytest.fixture(scope="session")
def models(
    speaking: Path, run_in: Run, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """A model directory of every layout."""
    out = tmp_path_factory.mktemp("models")
    passed(run_in(speaking, "python", str(CLIENTS / "fit.py"), "iris_service", str(out)))
    return {"array": speaking / "model", "frame": out / "frame", "text": out / "text"}


@contextmanager
def serving(
    project: Path, environment: Path, model: Path, *arguments: str, **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A service with these arguments and variables: its host and port, and its process."""
    process = processes.start(
        [environment / "python", "-m", "iris_service", *(arguments or ["serve"])],
        env=clean_environment(
            **{
                "PYTHONPATH": source_of(project),
                "SERVING_MODEL_DIR": str(model),
                "SERVING_HOST": "127.0.0.1",
                "SERVING_LOG_FORMAT": "text",
                **({} if {"PORT", "AIP_HTTP_PORT"} & variables.keys() else {"SERVING_PORT": "0"}),
                **variables,
            }
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield address_of(process).removeprefix("http://"), process
    finally:
        process.kill()
        process.communicate()


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the body of an answer, decoded if it is JSON."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        named.setdefault("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, named), timeout=30) as found:
            status, content = found.status, found.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content


def python_of(client: str) -> Path:
    """The Python of an environment that has a client."""
    return python_with(client, REQUIREMENTS[client])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_clients_get_the_answers_of_predict(
    layout: str, speaking: Path, environment: Path, models: Mapping[str, Path], tmp_path: Path
) -> None:
    with serving(speaking, environment, models[layout]) as (address, _):
        for name in REQUIREMENTS:
            ask_with(name, address, models[layout], tmp_path)


def ask_with(client: str, address: str, model: Path, folder: Path) -> None:
    """Let a client compare its answers with those of `POST /predict`."""
    case = folder / "case.json"
    case.write_text(json.dumps(case_of(model, address)), encoding="utf-8")
    command = [python_of(client), CLIENTS / f"with_{client}.py", address, case]
    ended = processes.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{client}:\n{ended.stdout}{ended.stderr}"


def case_of(model: Path, address: str) -> dict[str, Any]:
    """The golden rows of a model, and what `POST /predict` answers to them."""
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    inputs = manifest["signature"]["inputs"]
    columns = [column["name"] for column in inputs]
    rows = [[example["input"][name] for name in columns] for example in manifest["examples"]]
    status, answer = ask(f"http://{address}/predict", {"instances": rows})
    assert status == 200, answer
    return {
        "name": manifest["name"],
        "columns": columns,
        "rows": rows,
        "predictions": answer["predictions"],
        "nullable": [column["name"] for column in inputs if column["nullable"]],
    }


def test_what_the_readme_shows_can_be_run(
    speaking: Path, environment: Path, models: Mapping[str, Path]
) -> None:
    readme = (speaking / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(import numpy.*?)```", readme, re.S)
    curls = re.findall(r"```sh\n(curl --data.*?)```", readme, re.S)
    assert len(curls) == 3
    with serving(speaking, environment, models["array"]) as (address, _):
        asked = snippet.replace("127.0.0.1:8000", address)
        ended = processes.run([python_of("triton"), "-c", asked], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert "setosa" in ended.stdout
        for curl in curls if shutil.which("curl") else ():
            command = curl.replace("127.0.0.1:8000", address)
            answer = processes.run(shlex.split(command), capture_output=True, check=True)
            assert b"setosa" in answer.stdout


FUZZ = """
from pathlib import Path

import pytest

from .test_fuzz import test_the_service_behaves_as_its_openapi_document_says


@pytest.fixture(scope="session")
def model_dir():
    return Path({model!r})
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_protocol_does_what_the_document_says(
    layout: str,
    speaking: Path,
    run_in: Run,
    models: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The engine's own fuzzing, of other models and with every case that a schema defines."""
    project = tmp_path / speaking.name
    shutil.copytree(speaking, project, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    file = project / "engine" / "tests" / "test_fuzz_of_a_model.py"
    file.write_text(FUZZ.format(model=str(models[layout])), encoding="utf-8")
    monkeypatch.setenv("FUZZ_EXAMPLES", "40")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/1/deployedModels/2")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1/deployedModels/2:predict")
    passed(run_in(project, "pytest", "-q", "-n0", str(file)))


# Platforms: each starts the image's command with what it sets.


@pytest.fixture(scope="session")
def image(speaking: Path) -> dict[str, Any]:
    """What the Dockerfile says of the image."""
    text = (speaking / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.rpartition("\nFROM ")[2]
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.M)
    variables = dict(re.findall(r"\b([A-Z_]+)=(\S+)", "".join(re.findall(r"^ENV .*$", text, re.M))))
    return {"entrypoint": json.loads(entrypoint), "variables": variables}


def test_sagemaker(
    speaking: Path, environment: Path, image: dict[str, Any], tmp_path: Path
) -> None:
    assert image["entrypoint"] == ["iris-service"]
    assert image["variables"]["PORT"] == "8080"
    assert image["variables"]["SERVING_HOST"] == "0.0.0.0"
    unpacked = tmp_path / "opt" / "ml" / "model"
    shutil.copytree(speaking / "model", unpacked)
    port = str(free_port())
    with serving(speaking, environment, unpacked, "serve", PORT=port) as (address, process):
        assert address.endswith(f":{port}")
        started = time.monotonic()
        assert ask(f"http://{address}/ping")[0] == 200
        assert time.monotonic() - started < 2
        row = case_of(unpacked, address)["rows"][0]
        status, answer = ask(
            f"http://{address}/invocations",
            {"instances": [row]},
            X_Amzn_SageMaker_Custom_Attributes="trace=1",
            Accept="*/*",
        )
        assert status == 200
        csv = ",".join(map(str, row)).encode()
        headers = {"Content_Type": "text/csv"}
        assert ask(f"http://{address}/invocations", csv, **headers) == (200, answer)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="session")
def kserve(generate: Render) -> Path:
    """A project with manifests for KServe."""
    return generate(deployment="kubernetes")


def container_of(manifest: Path) -> dict[str, Any]:
    """The container that a manifest for KServe describes, with its variables as a dictionary."""
    spec = yaml.safe_load(manifest.read_text(encoding="utf-8"))["spec"]
    (container,) = spec.get("predictor", spec)["containers"]
    named = {each["name"]: each["value"] for each in container["env"]}
    return container | {"env": named}


# What KServe, Kubernetes and, below it, Knative add to the variables of a container. A Service
# called `serving` is in the same namespace.
SET_BY_KSERVE = {
    "INFERENCE_SERVICE_NAME": "iris-service",
    "K_SERVICE": "iris-service-predictor",
    "K_REVISION": "iris-service-predictor-00001",
    "SERVING_PORT": "tcp://10.0.0.1:80",
    "SERVING_SERVICE_HOST": "10.0.0.1",
    "KUBERNETES_SERVICE_HOST": "10.0.0.2",
}


@pytest.mark.parametrize("storage", ["s3", "oci"])
def test_kserve_with_a_model_from_a_storage(
    storage: str,
    kserve: Path,
    environment: Path,
    image: dict[str, Any],
    models: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """KServe puts the model at /mnt/models; with oci:// that is a link into another container."""
    runtime = container_of(kserve / "deploy/kserve/runtime.yaml")
    assert runtime["env"] == {"SERVING_MODEL_DIR": "/mnt/models"}
    mounted = tmp_path / "mnt" / "models"
    mounted.parent.mkdir()
    if storage == "oci":
        mounted.symlink_to(models["frame"], target_is_directory=True)
    else:
        shutil.copytree(models["frame"], mounted)
    variables = image["variables"] | SET_BY_KSERVE | {"PORT": str(free_port())}
    with serving(kserve, environment, mounted, **kept_here(variables)) as (address, process):
        walk(address, runtime)
        for client in ("triton", "kserve"):
            ask_with(client, address, mounted, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_kserve_with_the_model_in_the_image(
    kserve: Path, environment: Path, image: dict[str, Any], tmp_path: Path
) -> None:
    container = container_of(kserve / "deploy/kserve/model-in-image.yaml")
    assert container["env"] == {"PROTOCOL": "v2"}
    variables = image["variables"] | SET_BY_KSERVE | container["env"] | {"PORT": str(free_port())}
    with serving(kserve, environment, kserve / "model", **kept_here(variables)) as (address, _):
        walk(address, container)
        ask_with("kserve", address, kserve / "model", tmp_path)


def test_kserve_knows_every_field_of_its_manifests(kserve: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    right = kserve / "deploy/kserve/model-in-image.yaml"
    text = right.read_text(encoding="utf-8")
    wrong.write_text(text.replace("maxSurge", "maxSurges"), encoding="utf-8")
    strategy = "InferenceService.spec.predictor.deploymentStrategy"
    manifests = (kserve / "deploy/kserve").glob("*.yaml")
    expected = {wrong: f"{strategy}.rollingUpdate.maxSurges", **dict.fromkeys(manifests, "")}
    assert len(expected) == 4
    for manifest, unknown in expected.items():
        command = [python_of("kserve"), CLIENTS / "kserve_fields.py", manifest]
        ended = processes.run(command, capture_output=True, text=True, check=True)
        assert ended.stdout == unknown


def kept_here(variables: dict[str, str]) -> dict[str, str]:
    """Variables of the image without those that a service on this machine has of its own."""
    own = {"PATH", "SERVING_HOST", "SERVING_MODEL_DIR"}
    return {name: value for name, value in variables.items() if name not in own}


def walk(address: str, container: dict[str, Any]) -> None:
    """Ask what the kubelet and KServe ask before a client does."""
    (port,) = container["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["containerPort"]
        assert ask(f"http://{address}{container[probe]['httpGet']['path']}")[0] == 200
    assert ask(f"http://{address}/v2/health/live")[1]["live"] is True
    assert ask(f"http://{address}/v2/health/ready")[1]["ready"] is True
    assert ask(f"http://{address}/v2")[1]["name"]


def test_vertex_ai(speaking: Path, environment: Path, image: dict[str, Any]) -> None:
    health = "/v1/endpoints/1234/deployedModels/5678"
    port = str(free_port())
    told = {
        "AIP_HTTP_PORT": port,
        "AIP_HEALTH_ROUTE": health,
        "AIP_PREDICT_ROUTE": f"{health}:predict",
        "AIP_STORAGE_URI": "",
        "AIP_ENDPOINT_ID": "1234",
        "AIP_DEPLOYED_MODEL_ID": "5678",
        "AIP_MODE": "PREDICTION",
        "PORT": image["variables"]["PORT"],
    }
    with serving(speaking, environment, speaking / "model", **told) as (address, _):
        assert address.endswith(f":{port}")
        assert ask(f"http://{address}{health}")[0] == 200
        case = case_of(speaking / "model", address)
        asked = {"instances": case["rows"], "parameters": {}}
        assert ask(f"http://{address}{health}:predict", asked) == (
            200,
            {"predictions": case["predictions"]},
        )


def test_azure_ml(speaking: Path, environment: Path, image: dict[str, Any]) -> None:
    deployment = yaml.safe_load((speaking / "azureml.yml").read_text(encoding="utf-8"))
    routes = deployment["environment"]["inference_config"]
    assert {str(route["port"]) for route in routes.values()} == {image["variables"]["PORT"]}
    with serving(speaking, environment, speaking / "model") as (address, _):
        for name in ("liveness_route", "readiness_route"):
            assert ask(f"http://{address}{routes[name]['path']}")[0] == 200
        rows = case_of(speaking / "model", address)["rows"]
        status, answer = ask(
            f"http://{address}{routes['scoring_route']['path']}",
            {"input_data": rows},
            azureml_model_deployment="blue",
        )
        assert status == 200
        assert len(answer) == len(rows)
