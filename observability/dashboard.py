"""Writes the Grafana dashboard that a generated project has: `python observability/dashboard.py`.

It is Classic JSON, which Grafana imports and provisions. Under each graph stands a line that says
what to do about it. Metrics are those of one job, or of several: the variable `job`.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "{{cookiecutter.project_slug}}/deploy/observability/grafana/dashboard.json"

WIDTH = 8
GRAPH_HEIGHT = 7
TEXT_HEIGHT = 3
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'
ERRORS = 'status=~"[45].."'
NO_PROBES = 'route!~".*/(livez|readyz|live|ready|ping|health|metrics)"'

Panel = tuple[str, str, dict[str, str], str]
"""Title, unit, legend → expression, what to do."""


def rate(metric: str, *matchers: str) -> str:
    return f"rate({metric}{{{', '.join([JOB, *matchers])}}}[$__rate_interval])"


def quantile(share: float, histogram: str, *matchers: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({rate(f'{histogram}_bucket', *matchers)}))"


def gauge(metric: str) -> str:
    return f"{metric}{{{JOB}}}"


ROWS: dict[str, list[Panel]] = {
    "Requests": [
        (
            "Requests per second",
            "reqps",
            {"{{route}}": f"sum by (route) ({rate('serving_requests_total')})"},
            "It grows for weeks: plan for more workers, one for each core, then for replicas. "
            "`unmatched` grows: somebody asks for paths that there are not.",
        ),
        (
            "Errors per second, by status",
            "reqps",
            {
                "{{status}}": "sum by (status) "
                f"({rate('serving_requests_total', ERRORS, NO_PROBES)})"
            },
            "422: tell the client what the model takes; the answer says it. 500: look for the "
            "answer's `id` in the log. 503 and 504: see *Refused*, then *Saturation*.",
        ),
        (
            "Share of requests that failed",
            "percentunit",
            {"{{job}}": f"job:serving_request_errors:ratio_rate5m{{{JOB}}}"},
            "Above 0.1 % for long, the error budget of a month is spent early, and an alert says "
            "so. Undo the last change, of the code or the model.",
        ),
        (
            "Time to answer",
            "s",
            {
                name: quantile(share, "serving_request_seconds", NO_PROBES)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
            "p99 grows and p50 does not: some requests are large, or wait; see *Queue against "
            "compute*. All grow: the model or the machine has become slower.",
        ),
        (
            "Refused, by reason",
            "reqps",
            {
                "{{reason}}": f"sum by (reason) ({rate('serving_refused_total')})",
                "deadline passed": f"sum ({rate('serving_expired_total')})",
                "client left": f"sum ({rate('serving_cancelled_total')})",
            },
            "The service is asked for more than it can do: more workers, then replicas. A longer "
            "queue only lets clients wait longer for the same.",
        ),
        (
            "In progress",
            "short",
            {
                "requests": f"sum ({gauge('serving_in_flight')})",
                "rows in the queue": f"sum ({gauge('serving_queued_rows')})",
            },
            "Rows wait all the time: see *Saturation*. At `SERVING_MAX_QUEUED_ROWS` of each worker "
            "requests are refused.",
        ),
    ],
    "The model at work": [
        (
            "Saturation: share of the time that a prediction runs",
            "percentunit",
            {
                "busy": f"sum ({rate('serving_predict_seconds_sum')})"
                f" / sum ({gauge('serving_workers')})"
            },
            "Above 70 %, waiting grows quickly: raise `SERVING_WORKERS` while cores are idle, then "
            "add replicas.",
        ),
        (
            "Queue against compute, p99",
            "s",
            {
                "queue": quantile(0.99, "serving_queue_seconds"),
                "compute": quantile(0.99, "serving_predict_seconds"),
            },
            "The queue is longer than the computation: the service is full, add workers. The "
            "computation is: a smaller model, or less `SERVING_MAX_BATCH_ROWS`.",
        ),
        (
            "Rows in one call of the model",
            "short",
            {
                "mean": f"sum ({rate('serving_batch_rows_sum')})"
                f" / sum ({rate('serving_batch_rows_count')})",
                "p99": quantile(0.99, "serving_batch_rows"),
            },
            "p99 at `SERVING_MAX_BATCH_ROWS`: the model is saturated. Always 1: clients ask one "
            "after the other, or the model's manifest forbids batches.",
        ),
    ],
    "Processes": [
        (
            "Workers",
            "short",
            {
                "ready": f"sum ({gauge('serving_workers')})",
                "stuck or lost threads": f"sum ({gauge('serving_failed_threads')})",
            },
            "Fewer than you set: the log says why one ended. A stuck thread: a call of the model "
            "does not end; `py-spy dump` shows where.",
        ),
        (
            "Restarts of workers",
            "short",
            {"{{instance}}": "increase(serving_worker_restarts_total" + f"{{{JOB}}}[1h])"},
            "A signal 9 in the log: memory is short, see *Memory*. A hang: `SERVING_HANG_TIMEOUT`, "
            "or code that blocks the event loop.",
        ),
        (
            "Memory",
            "bytes",
            {
                "{{instance}}": f"sum by (instance) ({gauge('process_resident_memory_bytes')})",
                "held by connections": f"sum ({gauge('serving_buffered_bytes')})",
            },
            "It grows day by day: a leak, of your code or a library. Connections hold much: lower "
            "`SERVING_MAX_BUFFERED_BYTES`, or give the container more.",
        ),
        (
            "Processors in use",
            "short",
            {"{{instance}}": f"sum by (instance) ({rate('process_cpu_seconds_total')})"},
            "As many as there are cores: add machines. Fewer, although *Saturation* is high: add "
            "workers.",
        ),
        (
            "Log lines dropped",
            "short",
            {"per second": f"sum ({rate('serving_log_lines_dropped_total')})"},
            "What reads the log is too slow: fix it, or set `SERVING_ACCESS_LOG=false`.",
        ),
    ],
    "The model and its data": [
        (
            "Version that is served",
            "short",
            {
                "{{name}} {{version}}": f"count by (name, version) ({gauge('serving_model_info')})",
            },
            "Two versions for longer than an update takes: some replicas did not get the new one; "
            "their logs say why.",
        ),
        (
            "Reloads in the last hour, by result",
            "short",
            {
                "{{result}}": f"sum by (result) (increase(serving_reloads_total{{{JOB}}}[1h]))",
            },
            "Failed: the old model still serves. The log line `reload failed` says why; repair "
            "`model/` and send SIGHUP again.",
        ),
        (
            "Time to load the model",
            "s",
            {"{{instance}}": gauge("serving_model_load_seconds")},
            "Near `SERVING_LOAD_TIMEOUT`, reloads fail: raise it, or make the model smaller. A "
            "start takes at least as long.",
        ),
        (
            "Predictions per second, by label",
            "short",
            {"{{label}}": f"sum by (label) ({rate('serving_predictions_total')})"},
            "A share changes and nobody knows why: compare the inputs with those of the training, "
            "and look for a new kind of client.",
        ),
        (
            "Probability of the predicted label",
            "percentunit",
            {
                "median": quantile(0.5, "serving_prediction_score"),
                "lowest tenth": quantile(0.1, "serving_prediction_score"),
            },
            "It falls: the model sees what it has not learned. Label some of it, and train again.",
        ),
        (
            "Values outside of the observed range, per second",
            "short",
            {"{{column}}": f"sum by (column) ({rate('serving_out_of_range_total')})"},
            "One column: a unit or a source has changed, ask the client. Many: the world has "
            "changed, train again.",
        ),
        (
            "Missing values per second",
            "short",
            {"{{column}}": f"sum by (column) ({rate('serving_null_values_total')})"},
            "A column that had values: a source is broken, or a client no longer sends it.",
        ),
    ],
}


def graph(title: str, unit: str, queries: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for number, (legend, expression) in enumerate(queries.items())
        ],
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
    }


def text(content: str) -> dict[str, Any]:
    return {
        "type": "text",
        "title": "",
        "transparent": True,
        "options": {"mode": "markdown", "content": content},
    }


def panels() -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    top = 0

    def place(panel: dict[str, Any], left: int, below: int, width: int, height: int) -> None:
        position = {"h": height, "w": width, "x": left, "y": top + below}
        placed.append({"id": len(placed) + 1, **panel, "gridPos": position})

    for name, cells in ROWS.items():
        place({"type": "row", "title": name, "collapsed": False, "panels": []}, 0, 0, 24, 1)
        top += 1
        for number, (title, unit, queries, advice) in enumerate(cells):
            if number and number % 3 == 0:
                top += GRAPH_HEIGHT + TEXT_HEIGHT
            left = number % 3 * WIDTH
            place(graph(title, unit, queries), left, 0, WIDTH, GRAPH_HEIGHT)
            place(text(advice), left, GRAPH_HEIGHT, WIDTH, TEXT_HEIGHT)
        top += GRAPH_HEIGHT + TEXT_HEIGHT
    return placed


def variable(name: str, kind: str, query: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "query": query, "hide": 0, "refresh": 1, **more}


def dashboard() -> dict[str, Any]:
    jobs = "label_values(serving_workers, job)"
    return {
        "title": "Model service",
        "uid": "model-service",
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "tags": ["serving"],
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                variable("datasource", "datasource", "prometheus", label="Prometheus"),
                variable(
                    "job",
                    "query",
                    {"query": jobs, "refId": "jobs"},
                    definition=jobs,
                    label="Service",
                    datasource=SOURCE,
                    includeAll=True,
                    multi=True,
                    current={"text": ["All"], "value": ["$__all"]},
                ),
            ]
        },
        "annotations": {"list": []},
        "panels": panels(),
    }


def document() -> str:
    """The content of the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
