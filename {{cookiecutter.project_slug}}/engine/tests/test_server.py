"""The graceful shutdown as a load balancer and its clients see it, in a real process."""

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_engine.model_files.manifest import Manifest

from .models import example_row
from .service import PATIENCE, Clients, Service

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")


@pytest.fixture
def draining(model_dir: Path) -> Iterator[Service]:
    """A service that got SIGTERM, during its drain delay."""
    with Service(model_dir, drain_delay=2) as service:
        assert service.get("/readyz").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        yield service


def test_a_drain_turns_unready_first_then_serves_then_ends_with_code_0(
    draining: Service, manifest: Manifest
) -> None:
    """Clients send requests until /readyz returns 503, and none of their requests fails."""
    started = time.monotonic()
    body = {"instances": [example_row(manifest)]}
    clients = Clients(draining, body)
    clients.join()
    assert time.monotonic() - started < 1.5
    assert set(clients.statuses) <= {200}
    # New connections are served during the delay, with `Connection: close`.
    response = draining.request("POST", "/predict", json=body)
    assert response.status_code == 200
    assert response.headers["connection"] == "close"
    assert draining.request("GET", "/livez").status_code == 200
    assert draining.wait() == 0
    assert time.monotonic() - started >= 1.5
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", draining.port))


def test_a_second_signal_ends_the_drain(draining: Service) -> None:
    started = time.monotonic()
    draining.wait_for_line("draining")
    assert draining.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 1.5


def test_a_drain_serves_the_requests_that_are_on_their_way(model_dir: Path) -> None:
    """A connection that was just accepted, or has sent half a request, is not reset."""
    with Service(model_dir, drain_delay=0) as service, contextlib.ExitStack() as connections:
        accepted, half, silent, kept = (
            connections.enter_context(
                socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
            )
            for _ in range(4)
        )
        request = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
        half.sendall(request[:10])
        kept.sendall(request)
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
        service.process.send_signal(signal.SIGTERM)
        assert kept.recv(1) == b""
        accepted.sendall(request)
        half.sendall(request[10:])
        for client in (accepted, half):
            response = client.makefile("rb").read()
            assert response.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in response.lower()
        assert silent.recv(1) == b""
        assert service.wait() == 0


def test_ctrl_c_skips_the_delay(model_dir: Path) -> None:
    with Service(model_dir, drain_delay=PATIENCE) as service:
        started = time.monotonic()
        assert service.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 5
