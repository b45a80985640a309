"""Several workers that share one model, when things go wrong: killed, hung, reloaded, signaled."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import processes
from .conftest import clean_environment
from .services import PATIENCE, Clients, Service, package, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux"),
]


@pytest.fixture(scope="module")
def once(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers with its first column, version 1."""
    return package(environment, tmp_path_factory.mktemp("models") / "once", "1")


@pytest.fixture(scope="module")
def twice(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2: twice the first column."""
    return package(environment, tmp_path_factory.mktemp("models") / "twice", "2")


@pytest.fixture(scope="module")
def forest(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(environment, tmp_path_factory.mktemp("models") / "forest", "forest")


def replace(model: Path, other: Path) -> None:
    """As `model package` does it: the artifact first."""
    for name in ("model.skops", "manifest.json"):
        shutil.copy(other / name, model / "new")
        (model / "new").replace(model / name)


def test_the_supervisor_is_small_and_has_no_threads(environment: Path, once: Path) -> None:
    """Nothing that a model brings is in it: it can always act, and can always fork."""
    with Service(environment, once, workers=2) as service:
        process = Path(f"/proc/{service.process.pid}")
        maps = (process / "maps").read_text()
        assert "/pydantic_core/" in maps, "the test would prove nothing"
        assert not {name for name in ("numpy", "sklearn", "uvloop") if f"/{name}/" in maps}
        assert len(list((process / "task").iterdir())) == 1


# Workers and loaders that are killed or hang.


def test_a_killed_worker_fails_no_request_but_those_it_had(environment: Path, once: Path) -> None:
    with Service(environment, once, workers=2) as service, Clients(service, 16) as clients:
        clients.wait_for(10)
        assert len({answer.worker for answer in clients.all()}) == 2, "one worker had all"
        (killed,) = service.named("worker 0")
        os.kill(killed, signal.SIGKILL)
        seconds = wait_until(lambda: service.named("worker 0") not in ([], [killed]), 10)
        clients.wait_for(20)
        assert seconds < 1
        failed = [answer for answer in clients.all() if answer.status != 200]
        assert len({answer.worker for answer in failed}) <= 1
        assert len(failed) <= 16
        assert service.metric("serving_worker_restarts_total") == 1
        assert service.metric("serving_workers") == 2


def test_a_hung_worker_is_replaced_within_ten_seconds(environment: Path, once: Path) -> None:
    with Service(environment, once, workers=2) as service:
        (hung,) = service.named("worker 1")
        os.kill(hung, signal.SIGSTOP)
        seconds = wait_until(lambda: service.named("worker 1") not in ([], [hung]), 30)
        assert seconds < 10
        assert any("worker 1 hangs" in line for line in service.said())
        wait_until(lambda: service.metric("serving_workers") == 2, 5)


def test_a_killed_loader_is_replaced_and_the_model_shared_again(
    environment: Path, forest: Path
) -> None:
    with Service(environment, forest, workers=2, drain_delay=1) as service:
        (loader,) = service.named("loader")
        workers = service.named("worker")
        with Clients(service, 4) as clients:
            clients.wait_for(20)
            before = service.memory()
            os.kill(loader, signal.SIGKILL)
            seconds = wait_until(lambda: service.named("loader") not in ([], [loader]), 30)
            assert seconds < 10
            wait_until(lambda: not set(workers) & set(service.named("worker")), 30)
            clients.wait_for(20)
            assert {answer.status for answer in clients.all()} == {200}
            assert len(service.named("worker")) == 2
            assert service.memory() < 1.15 * before
        assert service.metric('serving_reloads_total{result="ok"}') == 0


def test_a_crash_loop_ends_with_code_1_and_says_why(environment: Path, once: Path) -> None:
    with Service(environment, once, workers=2) as service:
        killed: list[int] = []
        while service.process.poll() is None and len(killed) < 20:
            for pid in service.named("worker 0"):
                if pid not in killed:
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        assert service.ended() == 1
        assert len(killed) == 5
        assert "crash loop" in service.said()[-1]
        assert "was killed by signal 9" in service.said()[-1]
        assert service.group() == []


def test_nothing_outlives_a_killed_supervisor(environment: Path, once: Path) -> None:
    with Service(environment, once, workers=2) as service:
        service.process.kill()
        wait_until(lambda: not service.group(), 5)

        def is_free() -> bool:
            with socket.socket() as again:
                return again.connect_ex(("127.0.0.1", service.port)) != 0

        wait_until(is_free, 5)


def test_a_loader_that_is_killed_while_it_loads_ends_the_start_with_code_3(
    environment: Path, sleeper: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    model, besides = sleeper
    besides = besides | {"HOLD_LOADS": str(tmp_path)}
    with Service(environment, model, workers=2, wait=False, variables_besides=besides) as service:
        wait_until((tmp_path / "loading").exists)
        (loader,) = service.named("loader")
        os.kill(loader, signal.SIGKILL)
        assert service.ended() == 3
        (line,) = service.said()
        assert "was killed by signal 9" in line


# Memory.


def test_four_workers_take_little_more_than_one_and_the_memory_report_is_right(
    environment: Path, forest: Path
) -> None:
    taken = {}
    for workers in (1, 4):
        with Service(environment, forest, workers=workers) as service:
            with Clients(service, 40) as clients:
                clients.wait_for(50)
                assert {answer.status for answer in clients.all()} == {200}
                assert len({answer.worker for answer in clients.all()}) == workers
            taken[workers] = service.memory()
            if workers == 1:
                copies = service.memory(copies=4)
            if workers == 4:
                report = service.wait_for("the model takes")
                assert report["total_bytes"] == pytest.approx(taken[4], rel=0.1)
    size = (forest / "model.skops").stat().st_size
    assert report["model_bytes"] > size / 2
    assert report["copies_bytes"] == pytest.approx(copies, rel=0.1)
    # The base, Python with scikit-learn, is shared too; what is not is told in private_bytes.
    assert taken[4] < taken[1] + 4 * 40 * 2**20


# Reload.


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_under_load_fails_nothing_and_mixes_nothing(
    environment: Path, once: Path, twice: Path, tmp_path: Path, workers: int
) -> None:
    model = Path(shutil.copytree(once, tmp_path / "model"))
    with (
        Service(environment, model, workers=workers, drain_delay=1) as service,
        Clients(service, 6) as clients,
    ):
        clients.wait_for(20)
        for number, other in enumerate((twice, once, twice), start=1):
            replace(model, other)
            os.kill(service.process.pid, signal.SIGHUP)
            ok = 'serving_reloads_total{result="ok"}'
            wait_until(lambda ok=ok, number=number: service.metric(ok) == number)
            clients.wait_for(20)
        wait_until(lambda: len(service.named("worker")) == (workers if workers > 1 else 0))
        clients.wait_for(5)
        answers = clients.all()
        assert {answer.status for answer in answers} == {200}
        assert {answer.version for answer in answers} == {"1", "2"}
        for answer in answers:
            assert answer.value == pytest.approx(1.5 * float(answer.version))
        assert {each[-1].version for each in clients.answers} == {"2"}


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_reload_the_memory_is_that_of_one_model(
    environment: Path, forest: Path, workers: int
) -> None:
    with Service(environment, forest, workers=workers, drain_delay=0) as service:
        before = service.memory()
        os.kill(service.process.pid, signal.SIGHUP)
        service.wait_for("reloaded")
        size = (forest / "model.skops").stat().st_size / 2
        wait_until(lambda: service.memory() < before + 0.3 * size, 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_takes_less_is_refused_and_nothing_changes(
    environment: Path, project: Path, once: Path, tmp_path: Path, workers: int
) -> None:
    model = Path(shutil.copytree(once, tmp_path / "model"))
    with Service(environment, model, workers=workers) as service:
        replace(model, project / "model")
        os.kill(service.process.pid, signal.SIGHUP)
        line = service.wait_for("reload failed")
        assert line["level"] == "error"
        assert "is for classification" in line["message"]
        wait_until(lambda: service.metric('serving_reloads_total{result="failed"}') == 1)
        with Clients(service, 4) as clients:
            clients.wait_for(5)
        assert {(a.status, round(a.value, 9)) for a in clients.all()} == {(200, 1.5)}


# Signals and exit codes.


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("whole_group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_drains_and_ends_with_code_0(
    environment: Path, once: Path, workers: int, whole_group: bool, sig: int
) -> None:
    with Service(environment, once, workers=workers, drain_delay=1.5) as service:
        started = time.monotonic()
        (os.killpg if whole_group else os.kill)(service.process.pid, sig)
        if sig == signal.SIGTERM:
            # In every worker: each new connection may reach another.
            wait_until(lambda: service.get("/readyz")[0] == 503, 0.5)
            time.sleep(0.5 - min(0.5, time.monotonic() - started))
            assert {service.get("/readyz")[0] for _ in range(20)} == {503}
            with Clients(service, 4) as clients:
                clients.wait_for(3)
            assert {answer.status for answer in clients.all()} == {200}
        assert service.ended() == 0
        assert (time.monotonic() - started < 1.4) == (sig == signal.SIGINT)
        assert service.group() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_at_once(environment: Path, once: Path, workers: int) -> None:
    with Service(environment, once, workers=workers, drain_delay=PATIENCE) as service:
        os.kill(service.process.pid, signal.SIGTERM)
        service.wait_for("draining")
        os.kill(service.process.pid, signal.SIGTERM)
        assert service.ended(5) == 0
        assert service.group() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_while_it_loads_ends_that(
    environment: Path,
    sleeper: tuple[Path, dict[str, str]],
    tmp_path: Path,
    workers: int,
    sig: int,
) -> None:
    model, besides = sleeper
    besides = besides | {"HOLD_LOADS": str(tmp_path)}
    with Service(
        environment, model, workers=workers, wait=False, variables_besides=besides
    ) as service:
        wait_until((tmp_path / "loading").exists)
        os.killpg(service.process.pid, sig)
        assert service.ended(5) == 0
        assert service.group() == []
        assert service.said() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_ignore_readiness_are_refused_and_never_left_hanging(
    environment: Path, once: Path, workers: int
) -> None:
    with Service(environment, once, workers=workers, drain_delay=0.5) as service:
        os.kill(service.process.pid, signal.SIGTERM)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
                    client.settimeout(5)
                    client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                    client.recv(100)
            except ConnectionError:  # a TimeoutError would be a client left hanging
                break
        assert service.ended() == 0


SLEEPER = """

import os
from pathlib import Path
from time import sleep

from sklearn.base import BaseEstimator, TransformerMixin


class Sleeper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, rows, outcomes=None):
        return self

    def transform(self, rows):
        folder = os.environ.get("HOLD_LOADS")
        while folder and not Path(folder, "release").exists():
            Path(folder, "loading").touch()
            sleep(0.01)
        sleep(rows[:, 0].max() if rows[:, 0].max() > 1 else 0)
        return rows
"""
FIT_SLEEPER = """
import sys, joblib, numpy as np
from iris_service.transformers import Sleeper
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
rows = np.random.default_rng(0).random((20, 4))
joblib.dump(make_pipeline(Sleeper(), LinearRegression()).fit(rows, rows[:, 0]), sys.argv[1])
np.savetxt(sys.argv[2], rows, delimiter=",", header="a,b,c,d", comments="")
"""


@pytest.fixture(scope="module")
def sleeper(
    environment: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A model that takes as many seconds as the first column says, and the variables it needs.

    It waits, also while it is loaded, if HOLD_LOADS names a folder without the file `release`.
    """
    out = tmp_path_factory.mktemp("sleeper")
    shutil.copytree(project / "src", out / "src")
    with (out / "src" / "iris_service" / "transformers.py").open("a", encoding="utf-8") as file:
        file.write(SLEEPER)
    besides = {"PYTHONPATH": str(out / "src")}
    variables = clean_environment(**besides)
    files = (out / "model.joblib", out / "rows.csv")
    processes.run([environment / "python", "-c", FIT_SLEEPER, *files], check=True, env=variables)
    processes.run(
        [environment / "python", "-m", "iris_service", "model", "package", files[0]]
        + ["--examples", files[1], "--model-dir", out / "model"]
        + ["--trust", "iris_service.transformers.Sleeper"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=variables,
    )
    return out / "model", besides


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("seconds", "grace"), [(3, 20), (30, 1)], ids=["in time", "too long"])
def test_work_in_flight_is_finished_or_cut_with_a_line(
    environment: Path,
    sleeper: tuple[Path, dict[str, str]],
    workers: int,
    seconds: int,
    grace: int,
) -> None:
    model, besides = sleeper
    settings = {
        "drain_delay": 0,
        "drain_timeout": grace,
        "request_timeout": 60,
        "inline_seconds": 0,
    }
    with Service(
        environment, model, workers=workers, variables_besides=besides, **settings
    ) as service:
        clients = Clients(service, 1, row=[seconds, 0, 0, 0])
        with clients:
            wait_until(lambda: service.metric("serving_in_flight") == 2)
            clients.stop()
            os.kill(service.process.pid, signal.SIGTERM)
            # New connections are refused now, while the request in flight is still computed.
            wait_until(lambda: refuses(service.port), 1)
            assert clients.all() == []
            assert service.ended() == 0
        (answer,) = clients.all()
        cut = seconds > grace
        assert (answer.status == 200) != cut
        said = any("timeout graceful shutdown exceeded" in line for line in service.said())
        assert said == cut


def refuses(port: int) -> bool:
    """Whether a connection is refused, not left waiting."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


# The port.


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (2, 2)])
def test_two_services_never_share_a_port(
    environment: Path, once: Path, first: int, second: int
) -> None:
    with Service(environment, once, workers=first) as service:
        ended = processes.run(
            [environment / "iris-service", "serve", "--workers", str(second)]
            + ["--port", str(service.port), "--model-dir", once],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert f"port {service.port}" in line


# Other systems.

ELSEWHERE = """
import sys
import uvloop
from iris_service import app, settings
from iris_service.__main__ import main
from serving_engine.cli import model_commands
from serving_engine.process import server

sys.platform = "freebsd"
main()
"""


def test_elsewhere_several_workers_are_refused_in_one_line(environment: Path, once: Path) -> None:
    """What macOS and Windows say, said here."""
    command = [environment / "python", "-c", ELSEWHERE, "serve", "--workers", "2"]
    with Service(environment, once, command=command, wait=False) as service:
        assert service.ended() == 2
        (line,) = service.said()
        assert "need Linux" in line
        assert "SERVING_WORKERS=1" in line


def test_elsewhere_one_process_serves(environment: Path, once: Path) -> None:
    command = [environment / "python", "-c", ELSEWHERE, "serve"]
    with Service(environment, once, command=command) as service, Clients(service, 1) as clients:
        clients.wait_for(1)
        assert {answer.status for answer in clients.all()} == {200}
