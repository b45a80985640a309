"""Measures the service at hand: what a request and a call of the model cost, memory, start."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from ...errors import UsageError
from ...process.memory_report import proportional_bytes
from ...runtimes.load import load_model
from ...settings import ServingSettings
from ..bench.client import Connection, Load, Measured, closed_loop, run_client
from ..bench.own_service import OwnService, own_service
from ..bench.progress import progress
from ..bench.rows import KnownRows, fetch, learn
from ..bench.target import Target
from .calls import MOST_KEPT, time_calls
from .simulate import Worker

_ROUNDS = 3
_ALONE, _MANY, _TOO_MANY = 1, 16, 64
"""Connections: one after the other, some together, and more than the queue holds."""
_QUEUE = 32
_LEAST_REFUSALS = 30
_LEAST = 1e-6
_MOST_NOISE = 0.25
_SERIES = re.compile(rb"^serving_batch_rows_(sum|count)(?:\{.*\})? (\S+)$", re.M)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory; 0 where the system does not tell.

    process: of a service with one worker. model: of the model in it. base: of a service with
    several workers, but for what each has of its own. worker: that. copy: of a worker without
    sharing.
    """

    process: int = 0
    model: int = 0
    base: int = 0
    worker: int = 0
    copy: int = 0

    def replica(self, workers: int) -> int:
        """Bytes of a service with these workers."""
        return self.process if workers == 1 else self.base + workers * self.worker

    def copies(self, workers: int) -> int:
        """Bytes of these workers if each had its own copy of the model."""
        return workers * (self.copy or self.process)


@dataclass(frozen=True)
class Measurement:
    """What was measured. Times are in seconds.

    model: name and version. fixed, per_row: of a call of the model. start: from the start of the
    process until it listened. noise: how far repeated figures were apart, relative to their median.
    """

    model: str
    worker: Worker
    fixed: float
    per_row: float
    memory: Memory
    start: float
    noise: float
    warnings: tuple[str, ...] = ()


@dataclass
class _Run:
    """One closed loop. cpu: seconds of a processor that the service took for it."""

    measured: Measured
    cpu: float
    calls: float
    rows: float

    @property
    def right(self) -> int:
        return len(self.measured.latencies)

    @property
    def refused(self) -> int:
        return self.measured.counts["503"]


@dataclass
class _Runs:
    """The closed loops of one kind."""

    runs: list[_Run] = field(default_factory=list)

    def cpu(self) -> float:
        """Seconds of a processor for each right answer."""
        return median(run.cpu / run.right for run in self.runs)

    def calls(self) -> float:
        """Calls of the model for each right answer."""
        return median(run.calls / run.right for run in self.runs)

    def rows(self) -> float:
        """Rows in each call."""
        return median(run.rows / max(1.0, run.calls) for run in self.runs)


def measure(
    package: str, settings: ServingSettings, rows: KnownRows, per_request: int, seconds: float
) -> Measurement:
    """Measure the service with one worker, its model, and what a second worker takes.

    per_request: rows. seconds: of each run. Raises ModelError, StartupError or UsageError.
    """
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    variables = {"SERVING_WORKERS": 1, "SERVING_MAX_QUEUED_REQUESTS": _QUEUE}
    progress("starting the service")
    with own_service(package, settings.model_dir, **variables) as service:
        target = Target.of(service.url, key)
        progress("measuring requests")
        queries = run_client(learn(target, rows, per_request))
        before = proportional_bytes(service.pid)
        kinds = _load(service, Load(target, queries, _ALONE, seconds))
        process = proportional_bytes(service.pid)
    memory = _memory(package, settings, process, grown=process - before)
    progress("measuring the model")
    loaded = load_model(settings)
    worker = time_calls(loaded, settings, queries, seconds)
    worker = _request_times(worker, kinds)
    alone = [run.cpu / run.right for run in kinds[_ALONE].runs]
    noise = (max(alone) - min(alone)) / median(alone)
    fixed, per_row = _line(worker.batches)
    return Measurement(
        model=rows.title,
        worker=worker,
        fixed=fixed,
        per_row=per_row,
        memory=memory,
        start=service.seconds,
        noise=noise,
        warnings=tuple(_warnings(kinds, noise)),
    )


def _load(service: OwnService, load: Load) -> dict[int, _Runs]:
    """Run closed loops of each kind in turn. Raises UsageError if one has no right answer."""
    kinds = {connections: _Runs() for connections in (_ALONE, _MANY, _TOO_MANY)}
    run_client(closed_loop(replace(load, connections=_MANY)))  # to warm up
    for _ in range(_ROUNDS):
        for connections, runs in kinds.items():
            runs.runs.append(_run(service, replace(load, connections=connections)))
            if not runs.runs[-1].right:
                raise UsageError(
                    f"no answer was right at {connections} connections: there is nothing to plan "
                    "with. Does `bench` find right answers?"
                )
    return kinds


def _run(service: OwnService, load: Load) -> _Run:
    calls, rows = run_client(_counted(load.target))
    before = _cpu_seconds(service.pid)
    measured = run_client(closed_loop(load))
    after = _cpu_seconds(service.pid)
    calls_after, rows_after = run_client(_counted(load.target))
    cpu = measured.seconds if before is None or after is None else after - before
    return _Run(measured, cpu, calls_after - calls, rows_after - rows)


async def _counted(target: Target) -> tuple[float, float]:
    """Calls of the model and their rows, as the service counts them."""
    with closing(Connection(target)) as connection:
        _, body = await fetch(connection, target.request("GET", "/metrics"))
    found = {name: float(value) for name, value in _SERIES.findall(body)}
    return found.get(b"count", 0.0), found.get(b"sum", 0.0)


def _cpu_seconds(pid: int) -> float | None:
    """Seconds of a processor that the threads of a process took; None where Linux does not tell.

    Another process that runs meanwhile changes the clock on the wall, and not this.
    """
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    try:
        nanoseconds = [int(file.read_text(encoding="ascii").split()[0]) for file in files]
    except OSError:
        return None
    return sum(nanoseconds) / 1e9 if nanoseconds else None


def _memory(package: str, settings: ServingSettings, process: int, grown: int) -> Memory:
    """The memory of one worker and of several, which share the model.

    grown: what a process took more under load.
    """
    if sys.platform != "linux" or not process:
        return Memory(process)
    progress("starting the service with two workers")
    with own_service(package, settings.model_dir, SERVING_WORKERS=2) as service:
        report = service.memory
    if "total_bytes" not in report:
        return Memory(process)
    private = report["private_bytes"]
    grown = max(0, grown)
    return Memory(
        process=process,
        model=report["model_bytes"],
        base=report["total_bytes"] - 2 * private,
        worker=private + grown,
        copy=report["copies_bytes"] // 2 + grown,
    )


def _request_times(worker: Worker, kinds: dict[int, _Runs]) -> Worker:
    """What a turn of the event loop and a request take, less the calls of the model.

    A request alone takes a turn, a request and a call; of several together, each takes its part of
    a turn and of a call, and a request.
    """
    alone, many = kinds[_ALONE], kinds[_MANY]
    one = alone.cpu()
    calls = min(1.0, many.calls())
    rest_alone = one - worker.call(round(alone.rows()))
    rest_many = many.cpu() - calls * worker.call(round(many.rows()))
    turn = 0.0
    if calls < 0.9:  # noqa: PLR2004 - else there were no batches to tell them apart
        turn = min(max(0.0, (rest_alone - rest_many) / (1 - calls)), max(0.0, rest_alone))
    request = max(_LEAST, rest_many - calls * turn)
    worker = replace(worker, turn=turn, request=request)
    refusal = request
    runs = [run for run in kinds[_TOO_MANY].runs if run.refused >= _LEAST_REFUSALS]
    if runs:
        refusal = median(
            (run.cpu - run.right * request - run.calls * (turn + worker.call(_rows(run))))
            / run.refused
            for run in runs
        )
    latencies = [latency for run in alone.runs for latency in run.measured.latencies]
    around = [max(0.0, latency - one) for latency in latencies]
    return replace(
        worker,
        refusal=min(max(request / 4, refusal), 2 * request),
        around=tuple(around[:: max(1, len(around) // MOST_KEPT)]),
    )


def _rows(run: _Run) -> int:
    return round(run.rows / max(1.0, run.calls))


def _line(batches: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds of a call without rows, and of each row: from the smallest and the largest call."""
    (few, quick), (many, slow) = batches[0], batches[-1]
    if many == few:
        return 0.0, quick / few
    per_row = max(0.0, (slow - quick) / (many - few))
    return max(0.0, quick - few * per_row), per_row


def _warnings(kinds: dict[int, _Runs], noise: float) -> Iterator[str]:
    if noise > _MOST_NOISE:
        yield "the machine was busy: measure again when it does nothing else"
    if sys.platform != "linux":
        yield "this system does not tell what a process takes: times count the client in"
    if any(run.measured.counts["wrong"] for runs in kinds.values() for run in runs.runs):
        yield "some answers were wrong: see `bench`"
