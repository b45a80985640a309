"""The harness of `make bench`: whose memory is measured, what counts as right, when it fails."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT
from .processes import start

sys.path.append(str(ROOT / "benchmarks"))

import guard
import open_loop
import processes
from paired import Resting, Turn
from report import OURS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc")

PATIENCE = 10.0

DAEMON = """
import os, sys, time
if os.fork():
    time.sleep(60)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(60)
"""
"""A server with a daemon, which has another group and session, and lost its parent."""


@pytest.fixture
def server() -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, str], int]]:
    """A server, its mark, and the process id of its daemon."""
    mark = processes.new_mark()
    command = [sys.executable, "-c", DAEMON]
    with start(command, env=mark, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None
        yield started, mark, int(started.stdout.readline())
        processes.end(started, mark)


def test_a_daemon_that_left_its_server_is_measured_with_it(
    server: tuple["subprocess.Popen[bytes]", dict[str, str], int],
) -> None:
    process, mark, daemon = server
    found = processes.processes_of(process, mark)
    assert {path.name for path in found} >= {str(process.pid), str(daemon)}
    alone = processes.memory([Path("/proc", str(process.pid))])
    assert processes.memory(found) > alone > 0


def test_a_server_ends_with_its_daemon(
    server: tuple["subprocess.Popen[bytes]", dict[str, str], int],
) -> None:
    process, mark, daemon = server
    processes.end(process, mark)
    assert process.poll() is not None
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{daemon}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_answer_of_any_peer_is_right_if_it_holds_the_scores() -> None:
    query = open_loop.PeerQuery(b"", [0.25, 0.75])
    assert query.is_right(json.dumps({"outputs": [{"data": [0.25, 0.75]}]}).encode())
    assert not query.is_right(json.dumps({"predictions": [[0.75, 0.2]]}).encode())


def measured(rate: float, cpu: float, memory: float) -> tuple[list[list[Turn]], list[Resting]]:
    return [[Turn(rate, 2.0, cpu, cpu)] * 3] * 2, [Resting(1.0, memory)] * 2


@pytest.mark.parametrize(
    ("now", "slower"),
    [
        ((1000, 50, 100), set()),
        ((970, 51, 103), set()),
        ((1500, 30, 50), set()),
        ((900, 50, 100), {"requests/s"}),
        ((1000, 60, 120), {"CPU of a request", "memory"}),
    ],
)
def test_the_guard_fails_for_what_is_worse_than_the_noise_and_for_nothing_else(
    now: tuple[float, float, float], slower: set[str]
) -> None:
    ours, resting = measured(*now)
    before, resting_before = measured(1000, 50, 100)
    failed = guard.judge(
        "logreg",
        {OURS: ours, guard.BEFORE: before},
        {OURS: resting, guard.BEFORE: resting_before},
    )
    assert {name for name in guard.BANDS for line in failed if name in line} == slower
