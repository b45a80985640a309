"""The service's metrics in the form of Triton's statistics, for Triton's tools."""

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric

_NANOSECONDS = 1_000_000_000


def statistics(families: Iterable[Metric], routes: Container[str]) -> dict[str, Any]:
    """Return counts and nanoseconds since the start.

    families: the result of `Metrics.collect`. routes: `success` and `fail` count their requests.
    `queue` counts all requests, and `compute_infer` the calls of the model.
    """
    total: Counter[str] = Counter()
    for family in families:
        for name, labels, value, *_ in family.samples:
            if name.startswith("serving_request_seconds"):
                if labels["route"] not in routes:
                    continue
                outcome = "success" if labels["status"].startswith("2") else "fail"
                total[f"{outcome}_{name.rpartition('_')[2]}"] += value  # type: ignore[assignment]
            else:
                total[name] += value  # type: ignore[assignment]

    def durations(name: str) -> dict[str, int]:
        seconds = total[f"{name}_sum"]
        return {"count": int(total[f"{name}_count"]), "ns": int(seconds * _NANOSECONDS)}

    calls = durations("serving_predict_seconds")
    return {
        "inference_count": int(total["serving_batch_rows_sum"]),
        "execution_count": calls["count"],
        "inference_stats": {
            "success": durations("success"),
            "fail": durations("fail"),
            "queue": durations("serving_queue_seconds"),
            "compute_input": {"count": 0, "ns": 0},  # not measured
            "compute_infer": calls,
            "compute_output": {"count": 0, "ns": 0},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }
