"""Far more than a service can do, in a real process: what it takes is right, the rest is told."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import processes
from .conftest import clean_environment, source_of
from .load import Answer, Client, clients, p99
from .services import address_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.alone,
    pytest.mark.skipif(os.name == "nt", reason="reads memory from /proc"),
]

# Takes 40 ms for a batch, in the thread that predicts, and answers with the first value.
SLOW_MODEL = """
import time
from dataclasses import replace
import numpy as np
from iris_service import app
from serving_engine import Outputs, Service, load_and_warm, load_model, run_command_line

def predict(rows):
    time.sleep(0.04)
    label = np.array([int(row[0]) % 3 for row in rows])
    return Outputs(label, np.eye(3)[label])

async def load_slow(app, model):
    return await load_and_warm(app, replace(load_model(app.state.settings), predict=predict))

app.load_and_warm = load_slow
run_command_line(Service("iris_service"), ["serve"])
"""
BATCH = 2
CAPACITY = BATCH / 0.04
"""Rows per second."""


class Slow:
    """The service, and what it uses."""

    def __init__(self, environment: Path, project: Path) -> None:
        self.process = processes.start(
            [environment / "python", "-c", SLOW_MODEL],
            cwd=project,
            env=clean_environment(
                PYTHONPATH=source_of(project),
                SERVING_PORT="0",
                SERVING_MAX_BATCH_ROWS=str(BATCH),
                SERVING_MAX_QUEUED_REQUESTS="50",
                SERVING_DRAIN_DELAY="0",
                SERVING_ACCESS_LOG="false",
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = int(address_of(self.process).rpartition(":")[2])

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture
def service(environment: Path, project: Path) -> Iterator[Slow]:
    slow = Slow(environment, project)
    yield slow
    slow.process.terminate()
    slow.process.communicate(timeout=60)
    assert slow.process.returncode == 0


def body(number: int) -> bytes:
    return json.dumps({"instances": [[number, 1.0, 1.0, 1.0]]}).encode()


def is_right(answer: Answer, number: int) -> bool:
    labels = ["setosa", "versicolor", "virginica"]
    return json.loads(answer.body)["predictions"][0]["label"] == labels[number % 3]


def test_twenty_times_too_much(service: Slow) -> None:
    """Every accepted answer is right, refusals are quick, probes too, memory stays flat."""

    async def overload() -> None:
        wrong: list[Answer] = []

        async def ask(client: Client, number: int) -> Answer:
            answer = await client.ask("/predict", body(number))
            if answer.status == 200 and not is_right(answer, number):
                wrong.append(answer)
            await asyncio.sleep(0.05)  # the pace of a client: all ask thirty times the capacity
            return answer

        async def probe(client: Client, _number: int) -> Answer:
            answer = await client.ask("/readyz")
            await asyncio.sleep(0.02)
            return answer

        await clients(service.port, 150, 2, ask)
        before = service.resident
        predictions, probes = await asyncio.gather(
            clients(service.port, 150, 6, ask), clients(service.port, 1, 6, probe)
        )
        accepted, refused = predictions.with_status(200), predictions.with_status(503)
        assert len(accepted) + len(refused) == len(predictions.answers)
        assert not wrong
        assert len(predictions.answers) > 20 * CAPACITY * predictions.seconds
        assert len(accepted) > 0.8 * CAPACITY * predictions.seconds
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert p99(refused) < 0.05
        assert {answer.status for answer in probes.answers} == {200}
        assert max(answer.seconds for answer in probes.answers) < 0.1
        assert service.resident - before < 5 * 2**20
        async with Client(service.port) as client:
            started = time.monotonic()
            while (await client.ask("/predict", body(1))).status != 200:
                assert time.monotonic() < started + 2
            assert (await client.ask("/predict", body(1))).seconds < 0.5

    asyncio.run(overload())


def test_a_thousand_idle_connections_change_nothing(service: Slow) -> None:
    async def crowd() -> None:
        async def ask(client: Client, number: int) -> Answer:
            return await client.ask("/predict", body(number))

        alone = await clients(service.port, 2, 2, ask)
        async with contextlib.AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(Client(service.port)) for _ in range(1000)]
            for client in idle:
                assert (await client.ask("/livez")).status == 200
            crowded = await clients(service.port, 2, 2, ask)
            assert {answer.status for answer in crowded.answers} == {200}
            assert len(crowded.answers) > 0.8 * len(alone.answers)
            for client in idle:  # they are still there
                assert (await client.ask("/livez")).status == 200

    asyncio.run(crowd())
