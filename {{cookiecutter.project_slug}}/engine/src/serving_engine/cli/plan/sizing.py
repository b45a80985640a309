"""From what was measured to replicas, workers and memory, by simulation."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from ...errors import UsageError
from ...text import human_bytes
from .measure import Measurement
from .simulate import LATE, REFUSED, Simulated, Worker, simulate

_REQUESTS = 20_000
_MOST_REQUESTS = 400_000
_STEPS = 7
_IDLE = 0.02
_MOST_SHARE = 0.85
"""No worker is planned beyond this share of its capacity: the machines that it will run on are not
the one that was measured."""
_FEW_FAIL = 0.001
_LEAST_REPLICAS = 2
_SURGE = 0.25
"""Pods that an update has beside the others, as the Deployment's maxSurge says."""
_GRAIN = 64 * 2**20


@dataclass(frozen=True)
class Goal:
    """What is asked. rate: requests per second. p99: in seconds. rows: of each request.

    cores, memory: what one replica may have; memory in bytes, None for what it needs. buffers: most
    bytes that a worker buffers. forks: whether a replica may have several workers.
    """

    rate: float
    p99: float
    rows: int
    cores: int
    memory: int | None
    buffers: int
    forks: bool


@dataclass(frozen=True)
class Expected:
    """What is expected at a load. replicas: those that share it."""

    name: str
    rate: float
    replicas: int
    worker: Simulated

    def document(self) -> dict[str, Any]:
        """The load for other programs; latencies in milliseconds, shares of the requests."""
        p50, p99 = (self.worker.latency(share) for share in (0.5, 0.99))
        answered = p99 != float("inf")
        return {
            "name": self.name,
            "requests_per_second": self.rate,
            "replicas": self.replicas,
            "busy": self.worker.busy,
            "p50_ms": p50 * 1e3 if answered else None,
            "p99_ms": p99 * 1e3 if answered else None,
            "refused": self.worker.share(REFUSED),
            "late": self.worker.share(LATE),
        }


@dataclass(frozen=True)
class Plan:
    """What the load needs.

    surge: replicas that an update has beside the others. rate: requests per second that a worker
    may have. memory, unshared: bytes of a replica, 0 if unknown: with one copy of the model, and
    with one in each worker. limit: bytes that a replica may need at most.
    """

    goal: Goal
    measured: Measurement
    replicas: int
    surge: int
    workers: int
    rate: float
    memory: int
    unshared: int
    limit: int

    @cached_property
    def loads(self) -> list[Expected]:
        """What is expected at 1, 2 and 10 times the load, and when a replica is lost."""
        return [
            self._expect("1", 1, self.replicas),
            self._expect("1, a replica lost", 1, self.replicas - 1),
            self._expect("2", 2, self.replicas),
            self._expect("10", 10, self.replicas),
        ]

    @cached_property
    def curve(self) -> list[Expected]:
        """What is expected from a quarter of the load to twice the load."""
        return [self._expect("", quarters / 4, self.replicas) for quarters in range(1, 9)]

    def _expect(self, name: str, times: float, replicas: int) -> Expected:
        rate = times * self.goal.rate
        worker, rows = self.measured.worker, self.goal.rows
        simulated = _simulate(worker, rate / (replicas * self.workers), rows)
        return Expected(name, rate, replicas, simulated)

    @property
    def cpu_target(self) -> int:
        """Percent of a core at which an autoscaler adds replicas: that of one lost replica."""
        return min(95, max(10, round(100 * self.loads[1].worker.busy)))


def compute_plan(measured: Measurement, goal: Goal) -> Plan:
    """Find the replicas that keep the p99 when one of them is lost. Raises UsageError."""
    workers = _workers(measured, goal)
    rate = _largest_rate(measured, goal)
    survivors = ceil(goal.rate / (rate * workers))
    replicas = max(_LEAST_REPLICAS, survivors + 1)
    return Plan(
        goal=goal,
        measured=measured,
        replicas=replicas,
        surge=ceil(_SURGE * replicas),
        workers=workers,
        rate=rate,
        memory=measured.memory.replica(workers),
        unshared=measured.memory.copies(workers),
        limit=_limit(measured, goal, workers),
    )


def _simulate(worker: Worker, rate: float, rows: int) -> Simulated:
    """Simulate as many requests as it takes for a queue to fill, within bounds."""
    times = max(1.0, rate / worker.capacity(rows))
    return simulate(worker, rate, rows, min(_MOST_REQUESTS, int(_REQUESTS * times)))


def _largest_rate(measured: Measurement, goal: Goal) -> float:
    """The most requests per second that a worker answers in time. Raises UsageError."""
    worker = measured.worker
    capacity = worker.capacity(goal.rows)

    def keeps(share: float) -> bool:
        found = _simulate(worker, share * capacity, goal.rows)
        failed = found.share(REFUSED) + found.share(LATE)
        return found.latency(0.99) <= goal.p99 and failed <= _FEW_FAIL

    if not keeps(_IDLE):
        idle = _simulate(worker, _IDLE * capacity, goal.rows)
        raise UsageError(
            f"no number of replicas gets the p99 below {goal.p99 * 1e3:g} ms: a worker without "
            f"load has {idle.latency(0.99) * 1e3:.2f} ms (median {idle.latency(0.5) * 1e3:.2f} ms, "
            f"of which the model takes {worker.call(goal.rows) * 1e3:.2f} ms). Ask for a larger "
            "--p99, or make the model quicker."
            + "".join(f" Beware: {warning}." for warning in measured.warnings)
        )
    low, high = _IDLE, _MOST_SHARE
    if keeps(high):
        return high * capacity
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low * capacity


def _workers(measured: Measurement, goal: Goal) -> int:
    """As many workers as a replica has cores and memory for. Raises UsageError."""
    workers = goal.cores if goal.forks else 1
    if goal.memory is None or not measured.memory.process:
        return workers
    while workers > 1 and _limit(measured, goal, workers) > goal.memory:
        workers -= 1
    need = _limit(measured, goal, workers)
    if need > goal.memory:
        raise UsageError(
            f"--memory {human_bytes(goal.memory)} is too little for one worker: it may need "
            f"{human_bytes(need)}, of which the process has "
            f"{human_bytes(measured.memory.process)}, a second copy of the model during a reload "
            f"{human_bytes(measured.memory.model)}, and SERVING_MAX_BUFFERED_BYTES "
            f"{human_bytes(goal.buffers)}. Give it more, or lower that setting."
        )
    return workers


def _limit(measured: Measurement, goal: Goal, workers: int) -> int:
    """Bytes that a replica may need: its processes, a reload, and full buffers; 0 if unknown."""
    memory = measured.memory
    if not memory.process:
        return 0
    need = memory.replica(workers) + memory.model + workers * goal.buffers
    return ceil(need / _GRAIN) * _GRAIN
