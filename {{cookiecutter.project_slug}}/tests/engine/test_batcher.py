"""Natural batching: who gets what, whatever happens to the neighbours."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.__package_name }}.artifact.load import Batch
from {{ cookiecutter.__package_name }}.errors import DeadlineExceeded, QueueFull
from {{ cookiecutter.__package_name }}.schema.answers import Outputs
from {{ cookiecutter.__package_name }}.schema.requests import Rows
from {{ cookiecutter.__package_name }}.serving.batcher import PIECE, Batcher, Bounds
from {{ cookiecutter.__package_name }}.serving.threads import PredictionThreads
from {{ cookiecutter.__package_name }}.telemetry.metrics import Metrics

POISON = -1.0
PATIENCE = 20.0


class GatedModel:
    """Doubles one column; waits at a gate; refuses poison; remembers its batches."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[float]] = []

    def __call__(self, rows: Batch) -> Outputs:
        values = [float(row[0] or 0) for row in rows]
        self.batches.append(values)
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        if POISON in values:
            raise ValueError("poison")
        return Outputs(np.array(values) * 2)


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make(model: GatedModel, metrics: Metrics) -> Iterator[Callable[..., Batcher]]:
    """Make batchers over the gated model; close their threads afterwards."""
    pools = []

    def make(threads: int = 1, **bounds: int) -> Batcher:
        pool = PredictionThreads(threads)
        pools.append(pool)
        chosen = Bounds(**{"batch_rows": 64, "queued_rows": 1000, "queued_requests": 100, **bounds})
        return Batcher(model, pool, chosen, metrics)

    yield make
    model.gate.set()
    for pool in pools:
        pool.close()


def rows(*values: float) -> Rows:
    return Rows([[value] for value in values])


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, PATIENCE))


async def busy(batcher: Batcher, model: GatedModel) -> asyncio.Task[Outputs]:
    """Close the gate and put one request into the only thread."""
    model.gate.clear()
    first = asyncio.create_task(batcher.predict(rows(0), PATIENCE))
    await asyncio.to_thread(model.entered.acquire, timeout=PATIENCE)
    return first


async def queue(batcher: Batcher, *requests: Rows, timeout: float = PATIENCE) -> list[Any]:
    """Queue requests behind a busy thread, in order."""
    tasks = [asyncio.create_task(batcher.predict(request, timeout)) for request in requests]
    await asyncio.sleep(0)
    return tasks


def test_an_idle_model_is_asked_at_once(make: Callable[..., Batcher], model: GatedModel) -> None:
    async def scenario() -> None:
        outputs = await make().predict(rows(1, 2), PATIENCE)
        assert outputs.values.tolist() == [2, 4]

    run(scenario())
    assert model.batches == [[1, 2]]


def test_what_waits_shares_the_next_call(make: Callable[..., Batcher], model: GatedModel) -> None:
    async def scenario() -> None:
        batcher = make()
        first = await busy(batcher, model)
        waiting = await queue(batcher, rows(1), rows(2, 3), rows(4))
        model.gate.set()
        answers = [(await task).values.tolist() for task in waiting]
        assert answers == [[2], [4, 6], [8]]
        await first

    run(scenario())
    assert model.batches == [[0], [1, 2, 3, 4]]


def test_what_waits_is_shown_while_the_model_is_busy(
    make: Callable[..., Batcher], model: GatedModel, metrics: Metrics
) -> None:
    async def scenario() -> None:
        batcher = make()
        first = await busy(batcher, model)
        waiting = await queue(batcher, rows(1), rows(2, 3))
        assert metrics.queued_rows == 3
        model.gate.set()
        await asyncio.gather(first, *waiting)
        assert metrics.queued_rows == 0

    run(scenario())


@pytest.mark.parametrize("split", [True, False])
def test_a_call_is_bounded_and_a_larger_request_split_unless_its_rows_belong_together(
    split: bool, make: Callable[..., Batcher], model: GatedModel
) -> None:
    most = 3 * PIECE
    numbers = [float(number) for number in range(5, 5 + most + 2)]

    async def scenario() -> None:
        batcher = make(batch_rows=3, split=split)
        first = await busy(batcher, model)
        waiting = await queue(batcher, rows(1, 2), rows(3, 4), rows(*numbers), rows(200))
        model.gate.set()
        answers = await asyncio.gather(first, *waiting)
        assert answers[3].values.tolist() == [2 * number for number in numbers]

    run(scenario())
    large = [numbers[:most], numbers[most:]] if split else [numbers]
    assert model.batches == [[0], [1, 2], [3, 4], *large, [200]]


def test_one_bad_request_does_not_fail_its_neighbours(
    make: Callable[..., Batcher], model: GatedModel
) -> None:
    async def scenario() -> None:
        batcher = make()
        first = await busy(batcher, model)
        waiting = await queue(batcher, rows(1), rows(2, POISON), rows(3), rows(4))
        model.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(answers[1], ValueError)
        assert [answers[n].values.tolist() for n in (0, 2, 3)] == [[2], [6], [8]]
        await first

    run(scenario())


def test_a_cancelled_caller_is_not_computed(
    make: Callable[..., Batcher], model: GatedModel
) -> None:
    async def scenario() -> None:
        batcher = make()
        first = await busy(batcher, model)
        gone, stays = await queue(batcher, rows(1), rows(2))
        gone.cancel()
        model.gate.set()
        assert (await stays).values.tolist() == [4]
        await asyncio.gather(first, gone, return_exceptions=True)

    run(scenario())
    assert model.batches == [[0], [2]]


def test_expired_work_never_starts(make: Callable[..., Batcher], model: GatedModel) -> None:
    async def scenario() -> None:
        batcher = make()
        first = await busy(batcher, model)
        (late,) = await queue(batcher, rows(1), timeout=0.01)
        with pytest.raises(DeadlineExceeded):
            await late
        model.gate.set()
        await first
        assert (await batcher.predict(rows(2), PATIENCE)).values.tolist() == [4]

    run(scenario())
    assert model.batches == [[0], [2]]


@pytest.mark.parametrize(
    ("bounds", "fits"), [({"queued_rows": 4}, 2), ({"queued_requests": 3}, 3)], ids=str
)
def test_the_queue_is_bounded_in_rows_and_in_requests(
    make: Callable[..., Batcher], model: GatedModel, bounds: dict[str, int], fits: int
) -> None:
    async def scenario() -> None:
        batcher = make(**bounds)
        first = await busy(batcher, model)
        waiting = await queue(batcher, *[rows(1, 2)] * fits)
        with pytest.raises(QueueFull) as refused:
            await batcher.predict(rows(1, 2), PATIENCE)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 3
        model.gate.set()
        await asyncio.gather(first, *waiting)
        await batcher.predict(rows(1), PATIENCE)

    run(scenario())


def test_a_request_larger_than_the_queue_is_served_when_idle(
    make: Callable[..., Batcher],
) -> None:
    async def scenario() -> None:
        outputs = await make(queued_rows=2).predict(rows(1, 2, 3), PATIENCE)
        assert len(outputs) == 3

    run(scenario())


def test_a_quick_model_is_called_in_the_event_loop_until_it_is_slow(
    make: Callable[..., Batcher], model: GatedModel
) -> None:
    """Larger requests than a batch keep going to a thread."""
    threads: list[str] = []
    seconds = 0.0

    def predict(batch: Batch) -> Outputs:
        threads.append(threading.current_thread().name)
        time.sleep(seconds)
        return model(batch)

    async def scenario() -> None:
        nonlocal seconds
        batcher = make(batch_rows=4)
        batcher._predict = predict
        batcher.inline_seconds = 0.001
        answers = await asyncio.gather(*[batcher.predict(rows(n), PATIENCE) for n in range(6)])
        assert [answer.values.tolist() for answer in answers] == [[n * 2] for n in range(6)]
        await batcher.predict(rows(*range(5)), PATIENCE)
        seconds = 0.05
        for _ in range(3):
            await batcher.predict(rows(1), PATIENCE)
        seconds = 0.0
        await batcher.predict(rows(1), PATIENCE)

    here = threading.current_thread().name
    run(scenario())
    assert threads == [here, here, "predict-0", here, here, here, "predict-0"]
    assert model.batches[:2] == [[0, 1, 2, 3], [4, 5]]


def test_a_wrong_number_of_answers_fails_the_request(make: Callable[..., Batcher]) -> None:
    async def scenario() -> None:
        batcher = make()
        batcher._predict = lambda _: Outputs(np.zeros(1))
        with pytest.raises(ValueError, match="1 answers to 2 rows"):
            await batcher.predict(rows(1, 2), PATIENCE)

    run(scenario())


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_every_caller_gets_its_own_rows_under_any_interleaving(
    make: Callable[..., Batcher], threads: int, seed: int
) -> None:
    """Cancels, expiries and poison at random: the others' answers are their own."""
    chance = random.Random(seed)

    async def caller(batcher: Batcher, number: int) -> None:
        values = [float(number * 10 + n) for n in range(chance.randint(1, 9))]
        poisoned = chance.random() < 0.1
        if poisoned:
            values[-1] = POISON
        timeout = 0.0005 if chance.random() < 0.1 else PATIENCE
        task = asyncio.create_task(batcher.predict(rows(*values), timeout))
        await asyncio.sleep(chance.random() / 200)
        if chance.random() < 0.1:
            task.cancel()
        try:
            outputs = await task
        except asyncio.CancelledError:
            assert task.cancelled()
        except DeadlineExceeded:
            assert timeout < PATIENCE
        except ValueError:
            assert poisoned
        else:
            assert not poisoned
            assert outputs.values.tolist() == [value * 2 for value in values]

    async def scenario() -> None:
        batcher = make(threads, batch_rows=16, queued_rows=100_000, queued_requests=10_000)
        await asyncio.gather(*(caller(batcher, number) for number in range(1, 400)))
        assert batcher._queued_rows == 0
        assert not batcher._queue
        assert (await batcher.predict(rows(1), PATIENCE)).values.tolist() == [2]

    run(scenario())
