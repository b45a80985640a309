"""A plan: as text, as values for Kubernetes, as a document for other programs, as a plot."""

import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ...text import human_bytes
from ..bench.plot import latency_plot
from .measure import Measurement
from .simulate import LATE, REFUSED
from .sizing import Expected, Plan


def plan_lines(plan: Plan) -> Iterator[str]:
    """The lines of the report."""
    goal = plan.goal
    threads = _count(plan.measured.worker.threads, "thread")
    yield from measurement_lines(plan.measured)
    yield (
        f"one worker   {plan.measured.worker.capacity(goal.rows):,.0f} requests/s at most; planned "
        f"with {plan.rate:,.0f}"
    )
    yield ""
    yield f"for {goal.rate:,.0f} requests/s with a p99 of at most {goal.p99 * 1e3:g} ms:"
    yield f"replicas     {plan.replicas}, of which one may be lost"
    yield (
        f"workers      {plan.workers} in each replica, with {threads}: a core each, "
        f"{plan.replicas * plan.workers} in all"
    )
    if plan.memory:
        yield (
            f"memory       {human_bytes(plan.memory)} in each replica, "
            f"{human_bytes(plan.replicas * plan.memory)} in all; "
            f"{human_bytes(plan.unshared)} if its workers shared nothing"
        )
        yield f"limit        {human_bytes(plan.limit)}: with a reload and full buffers"
    else:
        yield "memory       unknown: this system does not tell"
    most = plan.replicas + plan.surge
    limits = f", {human_bytes(most * plan.limit)} of limits" if plan.limit else ""
    yield f"update       {most} replicas at once: {_count(most * plan.workers, 'core')}{limits}"
    yield ""
    yield f"{'times the load':<19}{'asked/s':>9}{'busy':>7}{'p50':>9}{'p99':>9}  no prediction"
    yield from map(_load_line, plan.loads)


def measurement_lines(measured: Measurement) -> Iterator[str]:
    """The lines about what was measured."""
    worker = measured.worker
    where = "in the event loop" if worker.inline else "in a thread"
    where += ", which keeps the interpreter's lock" if worker.hold else ""
    yield (
        f"measured     {measured.model} with Python {platform.python_version()}; repeated figures "
        f"were {measured.noise:.0%} apart"
    )
    yield (
        f"request      {_micro(worker.request)}, and {_micro(worker.turn)} for each turn of the "
        f"event loop; {_micro(worker.refusal)} to refuse one"
    )
    yield (
        f"model        {_micro(measured.fixed)} for a call and {_micro(measured.per_row)} for each "
        f"row, {where}"
    )
    memory = measured.memory
    if memory.process:
        more = f", {human_bytes(memory.worker)} for each of several" if memory.worker else ""
        yield f"process      {human_bytes(memory.process)} for one worker{more}"
    yield f"start        {measured.start:.1f} s until it listens"
    yield from (f"warning      {warning}" for warning in measured.warnings)


def _load_line(load: Expected) -> str:
    found = load.document()
    cells = "".join(
        f"{'-':>9}" if found[name] is None else f"{found[name]:9.2f}"
        for name in ("p50_ms", "p99_ms")
    )
    refused, late = load.worker.share(REFUSED), load.worker.share(LATE)
    failed = ", ".join(
        f"{share:.1%} {name}" for share, name in ((refused, "refused"), (late, "late")) if share
    )
    return f"{load.name:<19}{load.rate:9,.0f}{found['busy']:7.0%}{cells}  {failed or '0 %'}"


def _micro(seconds: float) -> str:
    if seconds >= 0.01:  # noqa: PLR2004
        return f"{seconds * 1e3:,.1f} ms"
    return f"{seconds * 1e6:,.0f} µs" if seconds >= 1e-5 else f"{seconds * 1e6:.1f} µs"  # noqa: PLR2004


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def kubernetes(plan: Plan, name: str) -> str:
    """Values for the Deployment and the autoscaler of a service, as two patches in YAML."""
    memory = f"\n              memory: {plan.limit // 2**20}Mi" if plan.limit else ""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  template:
    spec:
      containers:
        - name: service
          env:
            - name: SERVING_WORKERS
              value: "{plan.workers}"
          resources:
            requests:
              cpu: "{plan.workers}"{memory}
            limits:
              cpu: "{plan.workers + 1}"{memory}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  minReplicas: {plan.replicas}
  maxReplicas: {2 * plan.replicas}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {plan.cpu_target}
"""


def document(plan: Plan) -> dict[str, Any]:
    """The plan for other programs: seconds, bytes, requests per second."""
    measured, worker = plan.measured, plan.measured.worker
    return {
        "goal": asdict(plan.goal),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "measured": {
            "model": measured.model,
            "turn_seconds": worker.turn,
            "request_seconds": worker.request,
            "refusal_seconds": worker.refusal,
            "call_seconds": [{"rows": rows, "seconds": took} for rows, took in worker.batches],
            "fixed_seconds": measured.fixed,
            "row_seconds": measured.per_row,
            "in_event_loop": worker.inline,
            "hold_seconds": worker.hold,
            "memory_bytes": asdict(measured.memory),
            "start_seconds": measured.start,
            "noise": measured.noise,
            "warnings": measured.warnings,
        },
        "replicas": plan.replicas,
        "surge": plan.surge,
        "workers": plan.workers,
        "threads": worker.threads,
        "worker_requests_per_second": plan.rate,
        "memory_bytes": plan.memory,
        "memory_bytes_without_sharing": plan.unshared,
        "memory_limit_bytes": plan.limit,
        "cpu_target_percent": plan.cpu_target,
        "loads": [load.document() for load in plan.loads],
    }


def plot(plan: Plan) -> str:
    """An SVG picture: p50 and p99 up to twice the load, and the p99 that was asked for."""
    points = [(load.rate, load.document()) for load in plan.curve]
    known = [
        (rate, {"p50": found["p50_ms"], "p99": found["p99_ms"]})
        for rate, found in points
        if found["p99_ms"] is not None
    ]
    title = f"{plan.measured.model}, {plan.replicas} replicas of {_count(plan.workers, 'worker')}"
    return latency_plot(known, title, plan.goal.p99 * 1e3)
