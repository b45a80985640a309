"""Models are pushed to real servers on this machine and fetched from there, as the page says.

moto is S3, an emulator is Google Cloud Storage, MLflow is MLflow; the stand-in of Hugging Face is
`hub.py`. Azure's emulator is a program for Node, which these tests do without.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from . import processes
from .conftest import SAMPLE, Render, clean_environment, passed, source_of
from .environments import python_with
from .hub import hub
from .servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PATIENCE = 120
EXTRAS = "scikit-learn,s3,gcs,azure,huggingface,mlflow"
SERVERS = ["mlflow>=3.17,<4", "moto[server]>=5.2", "gcp-storage-emulator>=2026.7"]
BUCKET = "models.example.org"
URL = f"s3://{BUCKET}/iris-service/1"
MODEL = {path.name: path.read_bytes() for path in SAMPLE.iterdir()}


@pytest.fixture(scope="module")
def project(generate: Render) -> Path:
    """A project whose image can go to Kubernetes."""
    return generate(deployment="kubernetes")


@pytest.fixture(scope="module")
def command(project: Path) -> list[Any]:
    """The service's command line, where every home's library is installed."""
    engine = project / "engine"
    key = (engine / "pyproject.toml").read_text(encoding="utf-8")
    python = python_with("model-home", [f"serving-engine[{EXTRAS}] @ {engine.as_uri()}"], key)
    return [python, "-m", "iris_service"]


@contextlib.contextmanager
def server(arguments: list[str], folder: Path, **variables: str) -> Iterator[str]:
    """A server of models on a free port, which `PORT` in its arguments stands for: its URL."""
    python = python_with("model-servers", SERVERS)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = processes.start(
            [python, "-m", *(each.replace("PORT", str(port)) for each in arguments)],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=clean_environment(**variables),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    with server(["moto.server", "-H", "127.0.0.1", "-p", "PORT"], folder) as url:
        yield url


@pytest.fixture
def bucket(s3: str) -> str:
    """An empty bucket: its URL, where objects can be read and written without a client."""
    request(f"{s3}/moto-api/reset", "POST")
    request(f"{s3}/{BUCKET}", "PUT")
    return f"{s3}/{BUCKET}"


def request(url: str, method: str = "GET", body: bytes = b"") -> bytes:
    scope = "Credential=key/20260101/us-east-1/s3/aws4_request"
    signed = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"  # moto checks none
    headers = {"Content-Type": "application/octet-stream", "Authorization": signed}
    asked = urllib.request.Request(url, body or None, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        data: bytes = answer.read()
    return data


def keys(**variables: str) -> dict[str, str]:
    """The variables that AWS's own tools read."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }


class Cli:
    """The service's command line with variables of its own."""

    def __init__(self, command: list[Any], project: Path, **variables: str) -> None:
        self.command = command
        self.variables = variables
        self.project = project

    def start(self, *arguments: Any, before: tuple[Any, ...] = ()) -> subprocess.Popen[str]:
        variables = {"PYTHONPATH": source_of(self.project), **self.variables}
        return processes.start(
            [*before, *self.command, *arguments],
            cwd=self.project,
            env=clean_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *arguments: Any, before: tuple[Any, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, before=before) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def fails(self, *arguments: Any) -> str:
        """Its one line of error."""
        ended = self(*arguments)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        lines = [line for line in ended.stderr.splitlines() if not line.startswith(("- ", "model"))]
        assert len(lines) == 1, ended.stderr
        return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def another(model: Path, folder: Path, **fields: str) -> Path:
    """A copy of a model with other fields in its manifest."""
    copy = Path(shutil.copytree(model, folder))
    manifest = json.loads((copy / "manifest.json").read_bytes()) | fields
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def check_round_trip(cli: Cli, push_to: str, fetch_from: str, folder: Path) -> None:
    """What was pushed is fetched, and what is not there is one line."""
    passed(cli("model", "push", push_to, "--model-dir", SAMPLE))
    again = cli("model", "push", push_to, "--model-dir", SAMPLE)
    passed(again)
    assert "it is there already" in again.stderr
    fetched = cli("model", "fetch", fetch_from, "--model-dir", folder)
    passed(fetched)
    assert fetched.stderr.splitlines()[-1:] == [
        f"model: 100 % of {len(MODEL['model.skops'])} bytes"
    ]
    assert contents(folder) == MODEL


# S3


def test_the_commands_of_the_page_push_and_fetch(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    page = (project / "docs/model-home.md").read_text(encoding="utf-8")
    written = [line for line in page.splitlines() if line.startswith("uv run iris-service model ")]
    assert [line.split()[4] for line in written] == ["push", "fetch", "fetch"]
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=bucket.removesuffix(f"/{BUCKET}")))
    for line in written:
        passed(cli(*shlex.split(line.replace("/mnt", str(tmp_path)))[3:]))
    assert contents(tmp_path / "models/1") == MODEL == contents(project / "model")
    extra = re.search(r"^uv add 'serving-engine\[(\w+)\]'$", page, re.M)
    assert extra
    for row in re.findall(r"^\| .*\| `(\w+)` \|", page, re.M):
        assert row in EXTRAS.split(",")
    check_round_trip(cli, f"s3://{BUCKET}/other/1", f"s3://{BUCKET}/other/1", tmp_path / "other")


def test_a_damaged_object_is_not_put_in_place(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=bucket.removesuffix(f"/{BUCKET}")))
    passed(cli("model", "push", URL, "--model-dir", SAMPLE))
    damaged = MODEL["model.skops"][:-1] + b"?"
    request(f"{bucket}/iris-service/1/model.skops", "PUT", damaged)
    old = another(SAMPLE, tmp_path / "model", description="old")
    (old / "model.skops").write_bytes(b"old")
    before = contents(old)
    assert "checksum mismatch" in cli.fails("model", "fetch", URL, "--model-dir", old)
    assert contents(old) == before
    passed(cli("model", "push", URL, "--model-dir", SAMPLE, "--replace"))
    passed(cli("model", "fetch", URL, "--model-dir", old))
    assert contents(old) == MODEL


def test_another_model_is_refused_at_the_same_url(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=bucket.removesuffix(f"/{BUCKET}")))
    passed(cli("model", "push", URL, "--model-dir", SAMPLE))
    other = another(SAMPLE, tmp_path / "other", description="another")
    assert "add --replace" in cli.fails("model", "push", URL, "--model-dir", other)
    assert request(f"{bucket}/iris-service/1/manifest.json") == MODEL["manifest.json"]


def test_wrong_credentials_are_one_line(command: list[Any], project: Path, tmp_path: Path) -> None:
    """Of a server that checks them."""
    arguments = ["moto.server", "-H", "127.0.0.1", "-p", "PORT"]
    with server(arguments, tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="0") as url:
        cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=url))
        for verb in ("push", "fetch"):
            line = cli.fails("model", verb, URL, "--model-dir", project / "model")
            assert "Check the URL and the credentials: AWS_PROFILE" in line
        assert contents(project / "model") == MODEL
        nobody = keys(AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
        none = Cli(command, project, **nobody)
        line = none.fails("model", "fetch", URL, "--model-dir", tmp_path / "model")
        assert "credentials" in line
        assert contents(tmp_path / "model") == {}


def test_two_fetches_at_once_both_succeed(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=bucket.removesuffix(f"/{BUCKET}")))
    passed(cli("model", "push", URL, "--model-dir", SAMPLE))
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(
            lambda _: cli("model", "fetch", URL, "--model-dir", tmp_path / "model"), range(2)
        )
    for one in both:
        passed(one)
    assert contents(tmp_path / "model") == MODEL


# The other homes


def test_google_cloud_storage_is_a_home(command: list[Any], project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    arguments = ["gcp_storage_emulator", "start", "--host=127.0.0.1", "--port=PORT"]
    with server([*arguments, "--in-memory", "--default-bucket=models"], folder) as url:
        cli = Cli(command, project, STORAGE_EMULATOR_HOST=url)
        check_round_trip(cli, "gs://models/iris/1", "gs://models/iris/1", tmp_path / "model")
        other = another(SAMPLE, tmp_path / "other", description="another")
        line = cli.fails("model", "push", "gs://models/iris/1", "--model-dir", other)
        assert "add --replace" in line
        assert "not found" in cli.fails(
            "model", "fetch", "gs://models/iris/2", "--model-dir", other
        )


def test_hugging_face_is_a_home(command: list[Any], project: Path, tmp_path: Path) -> None:
    with hub("right") as server:
        variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        cli = Cli(command, project, HF_TOKEN="right", **variables)
        url = "hf://someone/iris/models/1"
        check_round_trip(cli, url, url, tmp_path / "model")
        assert len(server.commits) == 2
        assert {f"models/1/{name}": data for name, data in MODEL.items()} == server.files
        wrong = Cli(command, project, HF_TOKEN="wrong", **variables)
        for verb in ("push", "fetch"):
            line = wrong.fails("model", verb, url, "--model-dir", tmp_path / "model")
            assert line.endswith("Check the URL and the credentials: HF_TOKEN.")
        assert contents(tmp_path / "model") == MODEL


def test_the_registry_of_mlflow_is_a_home(
    command: list[Any], project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    arguments = ["mlflow", "server", "--host", "127.0.0.1", "--port", "PORT", "--workers", "1"]
    arguments += [
        "--backend-store-uri",
        "sqlite:///registry.db",
        "--artifacts-destination",
        "files",
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with server(arguments, folder, **quiet) as url:
        cli = Cli(command, project, MLFLOW_TRACKING_URI=url)
        passed(cli("model", "push", "models:/iris", "--alias", "champion", "--model-dir", SAMPLE))
        check_round_trip(cli, "models:/iris", "models:/iris@champion", tmp_path / "model")
        other = another(SAMPLE, tmp_path / "other", description="another")
        line = cli.fails("model", "push", "models:/iris", "--model-dir", other)
        assert "its version 1 is another model" in line
        second = another(SAMPLE, tmp_path / "second", version="second")
        pushed = cli("model", "push", "models:/iris", "--alias", "champion", "--model-dir", second)
        passed(pushed)
        assert pushed.stderr == "- registered version 2\n- champion is version 2\n"
        for place, model in (("models:/iris/1", SAMPLE), ("models:/iris@champion", second)):
            passed(cli("model", "fetch", place, "--model-dir", tmp_path / "model"))
            assert contents(tmp_path / "model") == contents(model)
        for place in ("models:/iris@nobody", "models:/iris/9", "models:/nothing@champion"):
            cli.fails("model", "fetch", place, "--model-dir", tmp_path / "model")
        damaged = sorted(folder.glob("files/**/model.skops"), key=os.path.getmtime)[-1]
        damaged.write_bytes(MODEL["model.skops"][:-1] + b"?")
        (tmp_path / "model/model.skops").unlink()
        before = contents(tmp_path / "model")
        line = cli.fails(
            "model", "fetch", "models:/iris@champion", "--model-dir", tmp_path / "model"
        )
        assert "checksum mismatch" in line
        assert contents(tmp_path / "model") == before
    unnamed = Cli(command, project, MLFLOW_TRACKING_URI="")
    assert "MLFLOW_TRACKING_URI" in unnamed.fails("model", "fetch", "models:/iris@champion")


# Where it is used

READ_ONLY = """
import os, subprocess, sys
writable, *command = sys.argv[1:]
mount = lambda *arguments: subprocess.run(["mount", *arguments], check=True)
mount("--bind", writable, writable)
mount("-o", "remount,bind,ro", "/")
for path in ("/tmp/written", "/written", "written"):
    try:
        open(path, "w")
        sys.exit(f"{path} can be written")
    except OSError:
        pass
os.execv(command[0], command)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are of Linux")
def test_an_init_container_with_a_read_only_root_fetches_the_model(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    """The arguments and the variables of the component, and no home folder."""
    isolated = ("unshare", "--user", "--map-root-user", "--mount")
    if processes.run([*isolated, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine permits no namespaces")
    text = (project / "deploy/kubernetes/components/model-home/kustomization.yaml").read_text()
    args = re.search(r"args: \[(.*)\]", text)
    assert args
    models = tmp_path / "models"
    models.mkdir()
    variables = {"SERVING_MODEL_DIR": str(models), "HOME": "/nonexistent"}
    endpoint = bucket.removesuffix(f"/{BUCKET}")
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=endpoint), **variables)
    passed(cli("model", "push", URL, "--model-dir", SAMPLE))
    before = (*isolated, sys.executable, "-c", READ_ONLY, models)
    passed(cli(*(word.strip(' "') for word in args[1].split(",")), before=before))
    assert contents(models) == MODEL
    passed(cli("check", before=before))


def test_the_image_build_fetches_the_model_with_a_secret(
    command: list[Any], project: Path, bucket: str, tmp_path: Path
) -> None:
    """The step of the Dockerfile, run by the shell as the build would."""
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (step,) = re.findall(r"^RUN --mount=type=secret,id=model (.*)$", dockerfile, re.M)
    endpoint = bucket.removesuffix(f"/{BUCKET}")
    cli = Cli(command, project, **keys(AWS_ENDPOINT_URL=endpoint))
    passed(cli("model", "push", URL, "--model-dir", SAMPLE))
    secret = tmp_path / "model.env"
    named = keys(AWS_ENDPOINT_URL=endpoint, PYTHONPATH=source_of(project))
    secret.write_text("".join(f"{name}={value!r}\n" for name, value in named.items()))
    replaced = {
        "/run/secrets/model": secret,
        "/app/.venv/bin/iris-service": shlex.join(map(str, command)),
        "/app/model": tmp_path / "model",
    }
    for old, new in replaced.items():
        assert old in step
        step = step.replace(old, str(new))

    def build(**arguments: str) -> subprocess.CompletedProcess[str]:
        given = {"MODEL_URL": "", "MODEL_SHA256": "", **arguments}
        return processes.run(
            ["sh", "-ec", step],
            env=clean_environment(**given),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    passed(build())
    assert not (tmp_path / "model").exists()
    assert build(MODEL_URL=URL, MODEL_SHA256="0" * 64).returncode == 1
    assert contents(tmp_path / "model") == {}
    passed(build(MODEL_URL=URL))
    assert contents(tmp_path / "model") == MODEL
