"""Several workers when something goes wrong: processes that are killed, stopped, hang or cannot be
started."""

import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from serving_engine.model_files.manifest import Manifest

from .models import example_row
from .service import Service, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share by fork on Linux")

RESTARTS = ("serving_worker_restarts_total",)
READY = ("serving_workers",)

WARM_UP = """
import asyncio, os, sys
from pathlib import Path
from serving_engine.blas_threads import limit_threads_of_imports

limit_threads_of_imports()
from serving_engine import application

warm_model = application.warm_model
folder = Path(sys.argv[1])

async def held(*arguments):
    name = Path("/proc/self/comm").read_text().strip()
    if (folder / f"crash {name}").exists():
        os.kill(os.getpid(), 9)
    while (folder / f"hold {name}").exists():
        (folder / f"held {name}").touch()
        await asyncio.sleep(0.01)
    return await warm_model(*arguments)

application.warm_model = held
"""
"""A worker waits before it is ready, or crashes, as long as a file exists."""

FORK = """
import errno, os, sys
from pathlib import Path

fork = os.fork

def failing():
    if Path(sys.argv[1]).exists():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

os.fork = failing
"""
"""The system has no room for another process as long as a file exists."""

NO_PROC = """
from pathlib import Path

iterdir = Path.iterdir

def without_proc(path):
    if path.is_relative_to("/proc"):
        raise FileNotFoundError
    return iterdir(path)

Path.iterdir = without_proc
"""
FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def is_refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def replaced(service: Service, name: str, pid: int) -> Callable[[], bool]:
    return lambda: service.processes(name) not in ([], [pid])


def send_requests(port: int, count: int) -> list[socket.socket]:
    """Send requests over new connections, which go to any worker."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    for client in clients:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return clients


def response(client: socket.socket) -> bytes:
    """What a client receives until its connection ends. Raises TimeoutError if it hangs."""
    with closing(client):
        try:
            return client.recv(1000)
        except ConnectionError:
            return b""


# The start.


def test_nothing_listens_until_every_worker_is_ready_and_a_killed_one_is_replaced(
    model_dir: Path, manifest: Manifest, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "hold worker 1").touch()
    service = Service(model_dir, str(tmp_path), patches=WARM_UP, workers=2, drain_delay=0)
    service._environment["SERVING_PORT"] = str(port)
    service.start()
    try:
        wait_until((tmp_path / "held worker 1").exists)
        assert is_refused(port)
        (killed,) = service.processes("worker 0")
        os.kill(killed, signal.SIGKILL)
        wait_until(replaced(service, "worker 0", killed))
        assert is_refused(port)
        (killed,) = service.processes("worker 1")
        os.kill(killed, signal.SIGKILL)
        wait_until(replaced(service, "worker 1", killed))
        (tmp_path / "hold worker 1").unlink()
        service.wait_for_line("listening on")
        service.url = f"http://127.0.0.1:{port}"
        body = {"instances": [example_row(manifest)]}
        for _ in range(10):
            assert service.request("GET", "/readyz").status_code == 200
            assert service.request("POST", "/predict", json=body).status_code == 200
        metrics = service.scrape()
        assert (metrics[READY], metrics[RESTARTS]) == (2, 2)
        assert service.stop() == 0
    finally:
        service.process.kill()
        service.wait()


def test_a_worker_that_crashes_again_and_again_ends_the_start_with_code_3(
    model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "crash worker 1").touch()
    service = Service(model_dir, str(tmp_path), patches=WARM_UP, workers=2).start()
    try:
        assert service.wait() == 3
        assert "crash loop: a worker was killed by signal 9" in service.lines[-1]
    finally:
        service.process.kill()


# Workers and loaders that are killed or stopped.


def test_a_stopped_loader_is_replaced_and_no_connection_hangs_meanwhile(model_dir: Path) -> None:
    with Service(model_dir, workers=2, hang_timeout=3, drain_delay=0) as service:
        (loader,) = service.processes("loader")
        os.kill(loader, signal.SIGSTOP)
        (worker,) = service.processes("worker 0")
        os.kill(worker, signal.SIGKILL)
        for client in send_requests(service.port, 20):
            response(client)
        assert "the loader hangs" in service.wait_for_line("the loader hangs")
        wait_until(replaced(service, "loader", loader))
        wait_until(lambda: service.processes("worker 0") != [])
        wait_until(lambda: service.scrape()[READY] == 2)
        for client in send_requests(service.port, 20):
            assert response(client).startswith(b"HTTP/1.1 200")


def test_a_worker_killed_during_a_drain_leaves_no_connection_hanging(model_dir: Path) -> None:
    with Service(model_dir, workers=2, drain_delay=60, hang_timeout=60) as service:
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_line("draining")
        (worker,) = service.processes("worker 0")
        os.kill(worker, signal.SIGSTOP)
        clients = send_requests(service.port, 20)
        os.kill(worker, signal.SIGKILL)
        responses = [response(client) for client in clients]
        assert b"HTTP/1.1 200" in {text[:12] for text in responses}
        assert service.stop() == 0


def test_a_hung_worker_is_replaced(model_dir: Path) -> None:
    with Service(model_dir, workers=2, hang_timeout=2) as service:
        (hung,) = service.processes("worker 1")
        os.kill(hung, signal.SIGSTOP)
        service.wait_for_line("worker 1 hangs")
        wait_until(replaced(service, "worker 1", hung))
        wait_until(lambda: service.scrape()[READY] == 2)
        assert service.scrape()[RESTARTS] == 1


def test_a_crash_loop_ends_with_code_1(model_dir: Path) -> None:
    with Service(model_dir, workers=2) as service:
        killed: list[int] = []

        def kill_the_next() -> bool:
            for pid in service.processes("worker 0"):
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            return service.process.poll() is not None or len(killed) > 10

        wait_until(kill_the_next)
        assert service.wait() == 1
        assert len(killed) == 5
        assert "crash loop" in service.lines[-1]


def test_no_process_outlives_a_killed_supervisor(model_dir: Path) -> None:
    with Service(model_dir, workers=2) as service:
        names = ("loader", "worker 0", "worker 1")
        pids = [pid for name in names for pid in service.processes(name)]
        assert len(pids) == 3
        service.process.kill()
        service.process.wait()
        try:
            wait_until(lambda: not any(is_alive(pid) for pid in pids), 20)
            wait_until(lambda: is_refused(service.port), 20)
        finally:
            for pid in filter(is_alive, pids):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_that_does_not_end_in_time_is_killed(model_dir: Path) -> None:
    limits = {"drain_delay": 0.5, "drain_timeout": 0.5, "hang_timeout": 300}
    with Service(model_dir, workers=2, **limits) as service:
        (worker,) = service.processes("worker 0")
        os.kill(worker, signal.SIGSTOP)
        assert service.stop() == 0
        assert any("drain timeout: killing" in line for line in service.lines)
        assert not is_alive(worker)


# Reloads that cannot succeed.


@pytest.mark.parametrize(("workers", "load_timeout"), [(1, 5), (2, 20)])
def test_a_load_that_hangs_fails_in_time_and_the_next_reload_succeeds(
    held_model: Path, hold: Path, workers: int, load_timeout: float
) -> None:
    """Several workers: loading includes the imports."""
    (hold / "release").touch()
    with Service(held_model, workers=workers, load_timeout=load_timeout, drain_delay=0) as service:
        (hold / "release").unlink()
        service.process.send_signal(signal.SIGHUP)
        assert "SERVING_LOAD_TIMEOUT" in service.wait_for_line("reload failed")
        wait_until(lambda: service.scrape()["serving_reloads_total", "failed"] == 1)
        (hold / "release").touch()
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_line("reloaded: ")
        assert service.get("/readyz").status_code == 200
        assert service.stop() == 0


def test_a_reload_for_which_the_system_has_no_room_fails(model_dir: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    with Service(model_dir, str(full), patches=FORK, workers=2, drain_delay=0) as service:
        full.touch()
        service.process.send_signal(signal.SIGHUP)
        assert "cannot start the loader" in service.wait_for_line("reload failed")
        full.unlink()
        limits = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        service.process.send_signal(signal.SIGHUP)
        assert "cannot start the loader" in service.wait_for_line("reload failed")
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, limits)
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_line("reloaded: ")
        wait_until(lambda: service.scrape()["serving_reloads_total", "failed"] == 2)
        assert service.scrape()["serving_reloads_total", "ok"] == 1


@pytest.mark.parametrize("patches", [FORK, FEW_FILES])
def test_a_start_for_which_the_system_has_no_room_ends_with_code_3_and_one_line(
    model_dir: Path, tmp_path: Path, patches: str
) -> None:
    full = tmp_path / "full"
    full.touch()
    service = Service(model_dir, str(full), patches=patches, workers=100).start()
    try:
        assert service.wait() == 3
        assert len(service.lines) == 1
        assert re.search("cannot start the loader|no room for 100 workers", service.lines[0])
    finally:
        service.process.kill()


def test_a_system_without_proc_serves(model_dir: Path) -> None:
    with Service(model_dir, patches=NO_PROC, workers=2) as service:
        assert service.get("/readyz").status_code == 200
