"""A service on Ray: a cluster of two nodes, its proxies, its replicas, and files by Ray Data."""

import http.client
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import processes
from .conftest import ROOT, Render, clean_environment, environment_of, passed, uv
from .servers import free_port
from .services import OK, Clients, package, wait_until
from .test_protocols import ask, ask_with

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's cluster of several nodes is Linux's"),
]

PATIENCE = 180
CLIENTS = 5
MORE = 20
"""Answers that each client waits for before and after what happens."""
FIRST = 1.5
"""The first column of every row that the clients send."""
APPLICATION = "iris-service"
LINES = "id,sepal_length,sepal_width,petal_length,petal_width\n"


class RayCluster:
    """The cluster, and what the documented REST API of Serve says and does."""

    def __init__(self, environment: Path, config: dict[str, Any]) -> None:
        self.environment = environment
        self.port = free_port()
        self._config = config
        self._dashboard = free_port()
        self._mark = uuid.uuid4().hex
        # Ray would start its workers as it was started itself: with the `uv run` of these tests.
        self.variables = clean_environment(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
            TEST_MARK=self._mark,
            SERVING_LOG_FORMAT="json",
        )

    def start(self) -> None:
        self._process = processes.start(
            [self.environment / "python", ROOT / "tests/ray/cluster.py", str(self._dashboard)],
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._reply()["address"]

    def _reply(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError("the cluster has ended")

    def kill_node(self) -> None:
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        self._reply()

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def left(self) -> list[int]:
        """Every process of the cluster that is alive."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = self._mark.encode() in (folder / "environ").read_bytes()
            except OSError:
                continue
            if marked:
                found.append(int(folder.name))
        return found

    def deploy(self, *applications: dict[str, Any]) -> None:
        """What `serve deploy` does with the shipped config, for these applications."""
        http_options = self._config["http_options"] | {"host": "127.0.0.1", "port": self.port}
        config = self._config | {"http_options": http_options, "applications": applications}
        connection = http.client.HTTPConnection("127.0.0.1", self._dashboard, timeout=PATIENCE)
        connection.request(
            "PUT",
            "/api/serve/applications/",
            json.dumps(config),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        assert answer.status == OK, answer.read()
        connection.close()

    def application(
        self, model: Path, replicas: int = 1, name: str = APPLICATION, prefix: str = "/"
    ) -> dict[str, Any]:
        """The shipped application with another model directory and a number of replicas."""
        (shipped,) = self._config["applications"]
        (deployment,) = shipped["deployments"]
        fixed = {key: each for key, each in deployment.items() if key != "autoscaling_config"}
        assert len(fixed) == len(deployment) - 1
        return shipped | {
            "name": name,
            "route_prefix": prefix,
            "runtime_env": {"env_vars": {"SERVING_MODEL_DIR": str(model)}},
            "deployments": [fixed | {"num_replicas": replicas}],
        }

    def status(self, name: str = APPLICATION) -> dict[str, Any]:
        _, found = ask(f"http://127.0.0.1:{self._dashboard}/api/serve/applications/")
        return found["applications"].get(name, {})

    def replicas(self, name: str = APPLICATION) -> list[dict[str, Any]]:
        """The replicas that run."""
        deployment = self.status(name).get("deployments", {}).get("model", {})
        return [each for each in deployment.get("replicas", ()) if each["state"] == "RUNNING"]

    def wait_for(self, replicas: int, name: str = APPLICATION) -> None:
        def there() -> bool:
            status = self.status(name).get("status")
            assert status != "DEPLOY_FAILED", self.status(name)
            return status == "RUNNING" and len(self.replicas(name)) == replicas

        wait_until(there, PATIENCE)


@pytest.fixture(scope="module")
def project(generate: Render) -> Path:
    """A project that ships to Ray, with its environment."""
    project = generate(deployment="ray-serve")
    uv(project, "sync", "--quiet")
    return project


@pytest.fixture(scope="module")
def environment(project: Path) -> Path:
    return environment_of(project)


@pytest.fixture(scope="module")
def models(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Versions 1 and 2, each of which multiplies the first column by its number."""
    out = tmp_path_factory.mktemp("models")
    return {version: package(environment, out / version, version) for version in ("1", "2")}


@pytest.fixture(scope="module")
def cluster(environment: Path, project: Path, models: dict[str, Path]) -> Iterator[RayCluster]:
    """A cluster with three applications, one of which has no model."""
    text = (project / "deploy/ray/serve.yaml").read_text(encoding="utf-8")
    cluster = RayCluster(environment, yaml.safe_load(text))
    cluster.start()
    try:
        cluster.deploy(
            cluster.application(models["1"]),
            cluster.application(project / "model", name="iris", prefix="/iris"),
            cluster.application(project / "no-model", name="broken", prefix="/broken"),
        )
        cluster.wait_for(1)
        cluster.wait_for(1, "iris")
        yield cluster
    finally:
        cluster.end()
        for pid in cluster.left():
            os.kill(pid, signal.SIGKILL)


def test_the_open_inference_client_is_answered_through_the_proxy(
    cluster: RayCluster, project: Path, tmp_path: Path
) -> None:
    ask_with("triton", f"127.0.0.1:{cluster.port}/iris", project / "model", tmp_path)


def test_answers_are_those_of_the_service(cluster: RayCluster) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=PATIENCE)
    connection.request("GET", "/readyz", headers={"X-Request-ID": "mine"})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (OK, {"status": "ready"})
    assert answer.headers.get_all("X-Request-ID") == ["mine"]
    connection.request("POST", "/predict", "{", {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    answer.read()
    connection.request("POST", "/predict", bytes(2**21), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 413
    connection.close()


def test_a_replica_without_a_model_says_why_in_one_line(cluster: RayCluster) -> None:
    def message() -> str:
        return cluster.status("broken").get("deployments", {}).get("model", {}).get("message", "")

    wait_until(lambda: "model missing" in message(), PATIENCE)
    assert not cluster.replicas("broken")


def test_several_workers_are_refused(project: Path, environment: Path) -> None:
    """A replica is one process."""
    ended = processes.run(
        [environment / "python", "-c", APPLY],
        cwd=project,
        env=clean_environment(SERVING_WORKERS="2"),
        capture_output=True,
        text=True,
    )
    last = ended.stderr.splitlines()[-1]
    assert "SERVING_WORKERS=2 is unsupported on Ray" in last


APPLY = """
from serving_engine.process.ray_serve import Arguments, application
application(Arguments(package="iris_service"))
"""


def test_ray_data_predicts_what_the_command_predicts(
    cluster: RayCluster, project: Path, tmp_path: Path
) -> None:
    rows = "".join(f"{n},{n % 7}.5,{n % 5},,{n % 3}.25\n" for n in range(20_000))
    (tmp_path / "bad.csv").write_text(LINES + rows, encoding="utf-8")
    (tmp_path / "rows.csv").write_text(LINES + rows.replace(",,", ",1e0,"), encoding="utf-8")
    variables = cluster.variables | {
        "RAY_ADDRESS": cluster.address,
        "SERVING_MODEL_DIR": str(project / "model"),
    }

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return processes.run(
            [environment_of(project) / words[0], *words[1:]],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
        )

    job = ["python", "-m", "serving_engine.cli.predict.ray_job", "iris_service"]
    passed(run("iris-service", "predict", "rows.csv", "--output", "expected.parquet"))
    ended = run(*job, "rows.csv", "--output", "found", "--processes", "2")
    passed(ended)
    assert ended.stdout.endswith("20000 rows predicted: found\n")
    assert (tmp_path / "found" / "_SUCCESS").exists()
    passed(run("python", "-c", SAME))
    bad = run(*job, "bad.csv", "--output", "none", "--processes", "1")
    assert bad.returncode == 2
    assert "column petal_length" in bad.stderr.splitlines()[-1]
    assert not (tmp_path / "none" / "_SUCCESS").exists()


SAME = """
from pathlib import Path
import pyarrow, pyarrow.parquet
parts = [pyarrow.parquet.read_table(path) for path in sorted(Path("found").glob("*.parquet"))]
assert pyarrow.concat_tables(parts).equals(pyarrow.parquet.read_table("expected.parquet"))
"""


def test_more_replicas_lose_no_request(cluster: RayCluster, models: dict[str, Path]) -> None:
    with load(cluster) as clients:
        cluster.deploy(cluster.application(models["1"], replicas=3))
        cluster.wait_for(3)
    assert failed(clients) == 0


def test_a_killed_replica_loses_what_it_had_and_is_replaced(
    cluster: RayCluster, models: dict[str, Path]
) -> None:
    cluster.deploy(cluster.application(models["1"], replicas=3))
    cluster.wait_for(3)
    with load(cluster) as clients:
        killed = cluster.replicas()[0]["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in {each["pid"] for each in cluster.replicas()}, PATIENCE)
        cluster.wait_for(3)
    assert failed(clients) <= CLIENTS
    assert {each.status for each in last(clients)} == {OK}


def test_a_new_version_loses_no_request(cluster: RayCluster, models: dict[str, Path]) -> None:
    cluster.deploy(cluster.application(models["1"], replicas=3))
    cluster.wait_for(3)
    with load(cluster) as clients:
        cluster.deploy(cluster.application(models["2"], replicas=3))
        wait_until(lambda: {each.version for each in last(clients)} == {"2"}, PATIENCE)
        cluster.wait_for(3)
    assert failed(clients) == 0
    answers = [each for one in clients for each in one.all()]
    assert {each.version for each in answers} == {"1", "2"}
    assert all(each.value == pytest.approx(FIRST * int(each.version)) for each in answers)


def test_a_killed_node_loses_what_it_had_and_its_replicas_move(
    cluster: RayCluster, models: dict[str, Path]
) -> None:
    cluster.deploy(cluster.application(models["2"], replicas=3))
    cluster.wait_for(3)
    assert len({each["node_id"] for each in cluster.replicas()}) == 2
    with load(cluster) as clients:
        cluster.kill_node()
        wait_until(lambda: len({each["node_id"] for each in cluster.replicas()}) == 1, PATIENCE)
        cluster.wait_for(3)
    # What a client had in flight, and its connection to the proxy of that node.
    assert failed(clients) <= 2 * CLIENTS
    assert {each.status for each in last(clients)} == {OK}


@contextmanager
def load(cluster: RayCluster) -> Iterator[tuple[Clients, Clients]]:
    """Clients that keep their connections and others that do not, before, during and after."""
    with Clients(cluster, CLIENTS - 2) as kept, Clients(cluster, 2, keep_alive=False) as fresh:
        for each in (kept, fresh):
            each.wait_for(MORE)
        yield kept, fresh
        for each in (kept, fresh):
            each.wait_for(MORE)


def failed(clients: tuple[Clients, Clients]) -> int:
    return sum(answer.status != OK for each in clients for answer in each.all())


def last(clients: tuple[Clients, Clients]) -> list[Any]:
    """The last answers of each client."""
    return [each for one in clients for answers in one.answers for each in answers[-5:]]


def test_everything_has_ended_at_the_end(cluster: RayCluster) -> None:
    assert cluster.left()
    cluster.end()
    wait_until(lambda: not cluster.left())
