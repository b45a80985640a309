"""Natural batching: every caller gets its own outputs, also when others fail, expire or cancel."""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from serving_engine.errors import DeadlineExceeded, NotAnException, QueueFull
from serving_engine.inference.batcher import FORGIVEN_BY, PIECE, Batcher, QueueLimits
from serving_engine.inference.prediction_threads import PredictionThreads
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Rows, Values
from serving_engine.telemetry.metrics import Metrics

MakeBatcher = Callable[..., Batcher]

POISON = -1.0
PATIENCE = 20.0


class GatedModel:
    """Doubles one column; waits until the gate is open; fails on POISON; records its batches."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[float]] = []

    def __call__(self, rows: Values) -> Outputs:
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
def make(model: GatedModel, metrics: Metrics) -> Iterator[MakeBatcher]:
    """Make batchers over the gated model; close their threads afterwards."""
    pools = []

    def make(threads: int = 1, **limits: int) -> Batcher:
        pool = PredictionThreads(threads)
        pools.append(pool)
        defaults = {"batch_rows": 64, "queued_rows": 1000, "queued_requests": 100}
        return Batcher(model, pool, QueueLimits(**{**defaults, **limits}), metrics)

    yield make
    model.gate.set()
    for pool in pools:
        pool.close()


def rows(*values: float) -> Rows:
    return Rows([[value] for value in values])


def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), PATIENCE))

    return run


async def busy(batcher: Batcher, model: GatedModel) -> asyncio.Task[Outputs]:
    """Close the gate, and occupy the only thread with one request."""
    model.gate.clear()
    first = asyncio.create_task(batcher.predict(rows(0), PATIENCE))
    await asyncio.to_thread(model.entered.acquire, timeout=PATIENCE)
    return first


async def queue(batcher: Batcher, *requests: Rows, timeout: float = PATIENCE) -> list[Any]:
    """Queue requests behind a busy thread, in order."""
    tasks = [asyncio.create_task(batcher.predict(request, timeout)) for request in requests]
    await asyncio.sleep(0)
    return tasks


@in_event_loop
async def test_an_idle_model_is_called_at_once(make: MakeBatcher, model: GatedModel) -> None:
    outputs = await make().predict(rows(1, 2), PATIENCE)
    assert outputs.values.tolist() == [2, 4]
    assert model.batches == [[1, 2]]


@in_event_loop
async def test_waiting_requests_share_the_next_call(make: MakeBatcher, model: GatedModel) -> None:
    batcher = make()
    first = await busy(batcher, model)
    waiting = await queue(batcher, rows(1), rows(2, 3), rows(4))
    model.gate.set()
    assert [(await task).values.tolist() for task in waiting] == [[2], [4, 6], [8]]
    await first
    assert model.batches == [[0], [1, 2, 3, 4]]


@in_event_loop
async def test_waiting_rows_are_counted_while_the_model_is_busy(
    make: MakeBatcher, model: GatedModel, metrics: Metrics
) -> None:
    batcher = make()
    first = await busy(batcher, model)
    waiting = await queue(batcher, rows(1), rows(2, 3))
    assert metrics.queued_rows == 3
    model.gate.set()
    await asyncio.gather(first, *waiting)
    assert metrics.queued_rows == 0


@pytest.mark.parametrize("split", [True, False])
@in_event_loop
async def test_a_call_is_bounded_and_a_larger_request_is_split_unless_its_rows_belong_together(
    split: bool, make: MakeBatcher, model: GatedModel
) -> None:
    most = 3 * PIECE
    numbers = [float(number) for number in range(5, 5 + most + 2)]

    batcher = make(batch_rows=3, split=split)
    first = await busy(batcher, model)
    waiting = await queue(batcher, rows(1, 2), rows(3, 4), rows(*numbers), rows(200))
    model.gate.set()
    outputs = await asyncio.gather(first, *waiting)
    assert outputs[3].values.tolist() == [2 * number for number in numbers]
    large = [numbers[:most], numbers[most:]] if split else [numbers]
    assert model.batches == [[0], [1, 2], [3, 4], *large, [200]]


@in_event_loop
async def test_one_bad_request_does_not_fail_its_neighbours(
    make: MakeBatcher, model: GatedModel
) -> None:
    batcher = make()
    first = await busy(batcher, model)
    waiting = await queue(batcher, rows(1), rows(2, POISON), rows(3), rows(4))
    model.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[1], ValueError)
    assert [outcomes[n].values.tolist() for n in (0, 2, 3)] == [[2], [6], [8]]
    await first


@in_event_loop
async def test_a_cancelled_caller_is_not_computed(make: MakeBatcher, model: GatedModel) -> None:
    batcher = make()
    first = await busy(batcher, model)
    cancelled, waiting = await queue(batcher, rows(1), rows(2))
    cancelled.cancel()
    model.gate.set()
    assert (await waiting).values.tolist() == [4]
    await asyncio.gather(first, cancelled, return_exceptions=True)
    assert model.batches == [[0], [2]]


@in_event_loop
async def test_a_caller_that_is_cancelled_just_before_the_call_is_not_computed(
    make: MakeBatcher, model: GatedModel
) -> None:
    cancelled, waiting = await queue(make(), rows(1), rows(2))
    cancelled.cancel()
    assert (await waiting).values.tolist() == [4]
    assert model.batches == [[2]]


@in_event_loop
async def test_expired_work_never_starts(make: MakeBatcher, model: GatedModel) -> None:
    batcher = make()
    first = await busy(batcher, model)
    (late,) = await queue(batcher, rows(1), timeout=0.01)
    with pytest.raises(DeadlineExceeded):
        await late
    model.gate.set()
    await first
    assert (await batcher.predict(rows(2), PATIENCE)).values.tolist() == [4]
    assert model.batches == [[0], [2]]


@pytest.mark.parametrize(
    ("limits", "requests"), [({"queued_rows": 4}, 2), ({"queued_requests": 3}, 3)], ids=str
)
@in_event_loop
async def test_the_queue_is_bounded_in_rows_and_in_requests(
    make: MakeBatcher, model: GatedModel, limits: dict[str, int], requests: int
) -> None:
    batcher = make(**limits)
    first = await busy(batcher, model)
    waiting = await queue(batcher, *[rows(1, 2)] * requests)
    with pytest.raises(QueueFull) as error:
        await batcher.predict(rows(1, 2), PATIENCE)
    assert 1 <= int(error.value.headers["Retry-After"]) <= 3
    model.gate.set()
    await asyncio.gather(first, *waiting)
    await batcher.predict(rows(1), PATIENCE)


@in_event_loop
async def test_a_request_larger_than_the_queue_is_served_when_idle(
    make: MakeBatcher,
) -> None:
    outputs = await make(queued_rows=2).predict(rows(1, 2, 3), PATIENCE)
    assert len(outputs) == 3


@in_event_loop
async def test_a_quick_model_is_called_in_the_event_loop(
    make: MakeBatcher, model: GatedModel
) -> None:
    """Requests larger than a batch are always predicted in a thread."""
    threads: list[str] = []

    def predict(batch: Values) -> Outputs:
        threads.append(threading.current_thread().name)
        return model(batch)

    batcher = make(batch_rows=4)
    batcher._predict = predict
    batcher.inline_seconds = 1.0
    outputs = await asyncio.gather(*[batcher.predict(rows(n), PATIENCE) for n in range(6)])
    assert [each.values.tolist() for each in outputs] == [[n * 2] for n in range(6)]
    await batcher.predict(rows(*range(5)), PATIENCE)

    here = threading.current_thread().name
    assert threads == [here, here, "predict-0"]
    assert model.batches[:2] == [[0, 1, 2, 3], [4, 5]]


QUICK, SLOW = 0.0, 0.02


@pytest.mark.parametrize(
    ("calls", "leaves"),
    [
        ([SLOW] * 2, False),
        ([SLOW] * 3, True),
        ([SLOW, SLOW, QUICK, SLOW], True),
        (([SLOW] + [QUICK] * FORGIVEN_BY) * 5, False),
        (([SLOW] + [QUICK] * (FORGIVEN_BY // 2)) * 5, True),
    ],
)
@in_event_loop
async def test_a_model_leaves_the_event_loop_when_its_calls_are_slow_again_and_again(
    make: MakeBatcher, monkeypatch: pytest.MonkeyPatch, calls: list[float], leaves: bool
) -> None:
    """A call now and then is slow because the machine ran something else."""
    now = 0.0
    here = threading.current_thread()
    callers: list[threading.Thread] = []

    def predict(batch: Values) -> Outputs:
        nonlocal now
        now += seconds
        callers.append(threading.current_thread())
        return Outputs(np.zeros(len(batch)))

    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr("serving_engine.inference.batcher.time", clock)
    batcher = make()
    batcher._predict = predict
    batcher.inline_seconds = 0.001
    for seconds in [*calls, QUICK]:  # noqa: B007 - `predict` reads it
        await batcher.predict(rows(1), PATIENCE)
    assert callers[0] is here
    assert (callers[-1] is not here) == leaves


@in_event_loop
async def test_a_wrong_number_of_outputs_fails_the_request(make: MakeBatcher) -> None:
    batcher = make()
    batcher._predict = lambda _: Outputs(np.zeros(1))
    with pytest.raises(ValueError, match="1 outputs for 2 rows"):
        await batcher.predict(rows(1, 2), PATIENCE)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("seed", range(5))
@in_event_loop
async def test_every_caller_gets_its_own_rows_under_any_interleaving(
    make: MakeBatcher, threads: int, seed: int
) -> None:
    """Some callers cancel, expire or fail at random; all others get the outputs of their rows."""
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

    batcher = make(threads, batch_rows=16, queued_rows=100_000, queued_requests=10_000)
    await asyncio.gather(*(caller(batcher, number) for number in range(1, 400)))
    assert batcher._queued_rows == 0
    assert not batcher._queue
    assert (await batcher.predict(rows(1), PATIENCE)).values.tolist() == [2]


@in_event_loop
async def test_requests_of_callers_that_left_make_room_at_once(
    make: MakeBatcher, model: GatedModel, metrics: Metrics
) -> None:
    """Some cancel, some expire, while one long call keeps the only thread busy."""

    batcher = make(queued_rows=10, queued_requests=4)
    first = await busy(batcher, model)
    for timeout in (PATIENCE, 0.01):
        gone = await queue(batcher, *[rows(1, 2)] * 4, timeout=timeout)
        assert metrics.queued_rows == 8
        if timeout == PATIENCE:
            for task in gone:
                task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert metrics.queued_rows == 0
        assert not batcher._queue
    waiting = await queue(batcher, *[rows(3, 4)] * 4)
    model.gate.set()
    assert [(await task).values.tolist() for task in waiting] == [[6, 8]] * 4
    await first
    assert model.batches == [[0], [3, 4] * 4]
    assert (metrics.cancelled, metrics.expired) == (4, 4)


@pytest.mark.parametrize("large", [True, False])
@in_event_loop
async def test_deadlines_hold_for_a_quick_model_too_while_a_large_request_has_its_thread(
    make: MakeBatcher, model: GatedModel, large: bool
) -> None:
    """Those of the large request, of one that came with it, and of one that came later."""

    batcher = make(batch_rows=2)
    batcher.inline_seconds = 0.001
    model.gate.clear()
    timeouts = (0.05, PATIENCE) if large else (PATIENCE, 0.05)
    together = [
        asyncio.create_task(batcher.predict(request, timeout))
        for request, timeout in zip((rows(1, 2, 3), rows(4)), timeouts, strict=True)
    ]
    await asyncio.to_thread(model.entered.acquire, timeout=PATIENCE)
    later = asyncio.create_task(batcher.predict(rows(5), PATIENCE if large else 0.05))
    late = [together[0]] if large else [together[1], later]
    for task in late:
        with pytest.raises(DeadlineExceeded):
            await task
    model.gate.set()
    await asyncio.gather(*together, later, return_exceptions=True)
    assert (await batcher.predict(rows(6), PATIENCE)).values.tolist() == [12]


class Panic(BaseException):
    """As PyO3 raises it when Rust code panics."""


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    "error",
    [Panic, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError],
)
@in_event_loop
async def test_what_is_no_exception_fails_the_request_that_caused_it_and_no_other(
    make: MakeBatcher, model: GatedModel, error: type[BaseException], inline: bool
) -> None:
    def predict(batch: Values) -> Outputs:
        if [POISON] in list(batch):
            raise error
        return model(batch)

    batcher = make()
    batcher._predict = predict
    batcher.inline_seconds = 10.0 if inline else 0.0
    tasks = [asyncio.create_task(batcher.predict(rows(n), 5)) for n in (1, POISON, 2)]
    first, failed, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(failed, NotAnException)
    assert isinstance(failed.__cause__, error)
    assert isinstance(first, Outputs)
    assert isinstance(last, Outputs)
    assert (await batcher.predict(rows(3), 5)).values.tolist() == [6]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@in_event_loop
async def test_a_lost_thread_is_counted_until_the_threads_are_to_end() -> None:
    pool = PredictionThreads(2)
    assert pool.failed(PATIENCE) == 0

    def end_thread(_: object) -> None:
        raise SystemExit

    pool.run(end_thread, None, asyncio.get_running_loop(), lambda *_: None)
    while pool.failed(PATIENCE) == 0:
        await asyncio.sleep(0.001)
    assert pool.failed(PATIENCE) == 1
    pool.end()
    assert pool.failed(PATIENCE) == 0
