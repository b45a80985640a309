"""`plan` sizes a service by a simulation, whose rules are those of the batcher."""

import asyncio
import json
import math
import random
import re
import selectors
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_engine.cli.plan import sizing
from serving_engine.cli.plan.measure import Measurement, Memory
from serving_engine.cli.plan.report import kubernetes, plan_lines
from serving_engine.cli.plan.simulate import LATE, REFUSED, Worker, replay, simulate
from serving_engine.cli.plan.sizing import Goal, Plan, compute_plan
from serving_engine.errors import DeadlineExceeded, QueueFull, UsageError
from serving_engine.inference.batcher import Batcher, QueueLimits
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Rows, Values
from serving_engine.telemetry.metrics import Metrics

from .conftest import Result

Command = Callable[..., Result]
ENGINE = Path(__file__).parents[1]
"""Where the package of the tests' service is found."""

NO_LIMITS = QueueLimits(batch_rows=1, queued_rows=10**9, queued_requests=10**9)


def worker(**changes: Any) -> Worker:
    """A worker that takes a second for each request, one after the other, and nothing besides."""
    plain = Worker(
        turn=0.0,
        request=0.0,
        refusal=0.0,
        batches=((1, 1.0),),
        inline=False,
        limits=NO_LIMITS,
        timeout=1e9,
        connections=10**9,
    )
    return replace(plain, **changes)


# The simulation, against what queueing theory knows


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_requests_one_at_a_time_wait_as_long_as_pollaczek_and_khinchine_say(load: float) -> None:
    found = simulate(worker(), load, rows=1, requests=20_000)
    assert np.mean(found.latencies) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)
    assert found.busy == pytest.approx(load, rel=0.03)


def test_an_idle_worker_adds_no_wait() -> None:
    found = replay(worker(turn=0.1, request=0.2, around=(0.3,)), [10.0, 20.0])
    assert found.outcomes == pytest.approx([1.6, 1.6])


def test_at_10_times_the_load_all_are_refused_but_for_the_capacity() -> None:
    limits = QueueLimits(batch_rows=8, queued_rows=10**9, queued_requests=100)
    busy = worker(limits=limits, batches=((1, 0.5), (8, 1.2)))
    assert busy.capacity(1) == pytest.approx(8 / 1.2)
    found = simulate(busy, 10 * busy.capacity(1), rows=1, requests=20_000)
    assert found.share(REFUSED) == pytest.approx(0.9, abs=0.005)
    assert found.busy == pytest.approx(1.0, abs=0.001)


def test_the_time_to_refuse_is_lost_for_predictions() -> None:
    limits = QueueLimits(batch_rows=1, queued_rows=10**9, queued_requests=10)
    refusing = worker(limits=limits, refusal=0.05)
    lost = simulate(refusing, 10.0, rows=1, requests=10_000).share(REFUSED)
    assert lost == pytest.approx(1 - 0.1 * (1 - 0.05 * 9), abs=0.02)


def test_the_event_loop_leaves_a_thread_half_of_the_core() -> None:
    """Even where refusals alone would keep the event loop busy."""
    limits = QueueLimits(batch_rows=4, queued_rows=10**9, queued_requests=4)
    flooded = worker(limits=limits, refusal=0.01, connections=20)
    found = simulate(flooded, 1000.0, rows=1, requests=20_000)
    answered = len(found.latencies) / len(found.outcomes) * found.rate
    assert answered == pytest.approx(4 / 2, rel=0.2)


def test_what_arrives_during_a_call_that_has_the_lock_shares_a_turn_after_it() -> None:
    limits = replace(NO_LIMITS, batch_rows=8)
    several = worker(limits=limits, batches=((1, 1.0), (8, 1.0)), turn=0.1)
    last = {
        hold: replay(replace(several, hold=hold), [0.0, 0.2, 0.3, 0.4]).outcomes[-1]
        for hold in (0.0, 0.1, 5.0)
    }
    assert last == pytest.approx({0.0: 1.9, 0.1: 1.85, 5.0: 1.8})


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("load", [0.5, 2.0])
def test_every_request_has_one_outcome(inline: bool, load: float) -> None:
    limits = QueueLimits(batch_rows=8, queued_rows=40, queued_requests=30)
    some = worker(
        turn=0.02,
        request=0.05,
        refusal=0.03,
        batches=((1, 0.5), (8, 0.8)),
        limits=limits,
        timeout=3.0,
        inline=inline,
    )
    arrivals = np.random.default_rng(1).exponential(1 / load / some.capacity(1), 3000).cumsum()
    found = replay(some, arrivals.tolist())
    lost = [outcome for outcome in found.outcomes if outcome < 0]
    assert len(found.latencies) + len(lost) == 3000
    assert set(lost) <= {REFUSED, LATE}
    assert len(found.latencies) <= sum(found.batches) <= 3000 - lost.count(REFUSED)
    assert max(found.batches) <= 8
    assert bool(lost) == (load > 1)


# The simulation, against the batcher


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves to the next timer at once."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Waiting(self))

    def time(self) -> float:
        return self.now


class _Waiting(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.now += timeout or 0.0
        return []


class VirtualThread:
    """A prediction thread whose calls take virtual time."""

    count = 1

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def run(self, compute: Any, work: Any, loop: VirtualLoop, done: Callable[..., None]) -> None:
        result = compute(work)
        loop.call_later(self._seconds(), done, work, result)


def batch_really(like: Worker, arrivals: list[float]) -> tuple[list[float], list[int]]:
    """Outcomes and batches of the service's own batcher, in virtual time."""
    loop = VirtualLoop()
    outcomes = [REFUSED] * len(arrivals)
    batches: list[int] = []

    def predict(rows: Values) -> Outputs:
        batches.append(len(rows))
        if like.inline:
            loop.now += like.call(len(rows))
        return Outputs(np.zeros(len(rows)))

    threads: Any = VirtualThread(lambda: like.call(batches[-1]))
    batcher = Batcher(predict, threads, like.limits, Metrics())
    batcher.inline_seconds = 1.0 if like.inline else 0.0

    async def ask(number: int) -> None:
        try:
            await batcher.predict(Rows([[1.0]]), like.timeout)
            outcomes[number] = loop.time() - arrivals[number]
        except QueueFull:
            outcomes[number] = REFUSED
        except DeadlineExceeded:
            outcomes[number] = LATE

    async def ask_all() -> None:
        left = len(arrivals)
        all_done = loop.create_future()

        def on_done(_: asyncio.Task[None]) -> None:
            nonlocal left
            left -= 1
            if not left:
                all_done.set_result(None)

        def arrive(number: int) -> None:
            task = loop.create_task(ask(number))
            asked.add(task)
            task.add_done_callback(on_done)

        asked: set[asyncio.Task[None]] = set()
        for number, due in enumerate(arrivals):
            loop.call_at(due, arrive, number)
        await all_done

    try:
        loop.run_until_complete(ask_all())
    finally:
        loop.close()
    return outcomes, batches


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("load", [0.5, 0.9, 3.0])
def test_the_simulation_makes_the_batches_of_the_batcher(inline: bool, load: float) -> None:
    like = worker(
        inline=inline,
        batches=((1, 0.5), (16, 2.0)),
        limits=QueueLimits(batch_rows=16, queued_rows=35, queued_requests=40),
        timeout=4.3,
    )
    generator = random.Random(2)
    arrivals = [0.0]
    while len(arrivals) < 1000:
        arrivals.append(arrivals[-1] + generator.expovariate(load * like.capacity(1)))
    outcomes, batches = batch_really(like, arrivals)
    found = replay(like, arrivals)
    assert found.batches == batches
    assert found.outcomes == pytest.approx(outcomes, abs=1e-6)
    assert (REFUSED in outcomes) == (load > 1)


# The plan


def measurement(**changes: Any) -> Measurement:
    """A quick model: 100 µs for each request, 1 ms for a call, 10 µs for each row."""
    limits = QueueLimits(batch_rows=64, queued_rows=10_000, queued_requests=1000)
    quick = worker(
        turn=5e-5,
        request=1e-4,
        refusal=5e-5,
        batches=((1, 1.01e-3), (64, 1.64e-3)),
        limits=limits,
        timeout=5.0,
        connections=2000,
    )
    mebi = 2**20
    memory = Memory(150 * mebi, 20 * mebi, 140 * mebi, 16 * mebi, 150 * mebi)
    return Measurement("quick 1", replace(quick, **changes), 1e-3, 1e-5, memory, 2.0, 0.02)


def goal(**changes: Any) -> Goal:
    plain = Goal(rate=60_000, p99=0.025, rows=1, cores=1, memory=None, buffers=2**27, forks=True)
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """For replicas of four cores."""
    return compute_plan(measurement(), goal(cores=4))


def test_one_replica_may_be_lost_and_the_p99_still_holds(plan: Plan) -> None:
    normal, lost, twice, ten = plan.loads
    assert lost.replicas == plan.replicas - 1
    assert normal.worker.latency(0.99) < lost.worker.latency(0.99) <= 0.025
    assert twice.rate == 120_000
    assert ten.worker.share(REFUSED) > 0.7
    fewer = lost.rate / (plan.replicas - 2) / plan.workers
    assert fewer > plan.rate, "one replica less would do"


def test_workers_share_the_model(plan: Plan) -> None:
    assert plan.workers == 4
    assert plan.memory == (140 + 4 * 16) * 2**20
    assert plan.unshared == 4 * 150 * 2**20


def test_an_update_needs_room_for_more_replicas(plan: Plan) -> None:
    assert plan.surge == math.ceil(plan.replicas / 4)
    most = plan.replicas + plan.surge
    (line,) = (line for line in plan_lines(plan) if line.startswith("update "))
    assert f" {most} replicas at once: {4 * most} cores, " in line


def test_the_values_for_kubernetes_are_those_of_the_plan(plan: Plan) -> None:
    text = kubernetes(plan, "my-service")
    assert text.count("name: my-service\n") == 2
    assert f"minReplicas: {plan.replicas}\n" in text
    assert re.findall(r"memory: (\d+)Mi", text) == [str(plan.limit // 2**20)] * 2
    assert 'name: SERVING_WORKERS\n              value: "4"' in text


def test_memory_limits_the_workers_and_a_large_p99_needs_fewer_replicas(plan: Plan) -> None:
    small = compute_plan(measurement(), goal(p99=0.1, cores=4, memory=512 * 2**20))
    assert small.workers == 2
    assert small.limit <= 512 * 2**20
    assert small.rate >= plan.rate
    with pytest.raises(UsageError, match=r"--memory 256 MiB is too little .* may need 320 MiB"):
        compute_plan(measurement(), goal(memory=256 * 2**20))


def test_a_p99_below_the_models_own_time_is_said_with_that_time() -> None:
    with pytest.raises(UsageError, match=r"no number of replicas .* below 1 ms: .* 1\.\d\d ms"):
        compute_plan(measurement(), goal(p99=0.001))


def test_without_figures_of_the_memory_it_says_so_and_sets_none(plan: Plan) -> None:
    blind = replace(plan, measured=replace(plan.measured, memory=Memory()), memory=0, limit=0)
    assert "memory:" not in kubernetes(blind, "my-service")
    assert "memory       unknown: this system does not tell" in list(plan_lines(blind))


# The command


def test_it_measures_the_service_and_plans_for_a_load(
    run: Command, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ENGINE)
    monkeypatch.setattr(sizing, "_REQUESTS", 2000)
    output = tmp_path / "found"
    options = ["--model-dir", str(model_dir), "--output", str(output), "--seconds", "0.05"]
    done = run("plan", "--rps", "200", "--p99", "5s", "--cpu", "2", *options)
    assert done.code == 0, done.err
    assert done.out.startswith("measured     test 1 with Python ")
    assert "\nreplicas     2, of which one may be lost\n" in done.out
    document = json.loads((output / "plan.json").read_text())
    measured = document["measured"]
    assert measured["in_event_loop"]
    assert measured["start_seconds"] > 0
    if sys.platform == "linux":
        memory = measured["memory_bytes"]
        assert 0 < memory["worker"] < memory["process"]
        assert document["memory_bytes"] == memory["base"] + 2 * memory["worker"]
    assert [load["requests_per_second"] for load in document["loads"]] == [200, 200, 400, 2000]
    assert ET.fromstring((output / "plan.svg").read_text()).tag.endswith("svg")  # noqa: S314
    assert (output / "plan.yaml").read_text() in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rps", "0", "--p99", "25ms"], "--rps: it must be more than 0"),
        (["--rps", "1", "--p99", "25"], "--p99: '25' is not a time such as 25ms"),
        (["--rps", "1", "--p99", "1s", "--memory", "8"], "--memory: '8' is not a size"),
        (["--rps", "1", "--p99", "1s", "--cpu", "0.5"], "--cpu: it must be a whole number"),
    ],
)
def test_a_bad_option_is_said_in_one_line(run: Command, arguments: list[str], message: str) -> None:
    done = run("plan", *arguments)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
