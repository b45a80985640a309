"""The servers that are measured: how each is installed, started and asked."""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
PORT = 8123
BASE = f"http://127.0.0.1:{PORT}"
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would start its workers as this was started: with `uv run`.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "PYTHONPATH": str(PEERS),
}
"""Of every Ray cluster: a core of its own is all that it has."""


@dataclass(frozen=True)
class Server:
    """A server of the benchmark.

    command: with {bin} (of its environment), {peers}, {port} and {scratch} filled in.
    ready: the path that answers once it may be asked. predict: the path that is measured.
    open_inference: whether bodies are Open Inference tensors; else {"instances": [[...]]}.
    records: the member that rows by name are in. free_start: whether it starts on all cores, and is
    pinned once it is ready. configured: how, and where its documentation recommends that.
    """

    name: str
    requirements: tuple[str, ...]
    command: str
    ready: str
    predict: str = "/predict"
    open_inference: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    records: str = "instances"
    free_start: bool = False
    configured: str = "as shipped; without an access log"

    def body(
        self, row: list[Any], columns: list[str] | None = None, output: str = "predict_proba"
    ) -> str:
        """The request for one row, as an array, or as an object with these columns.

        output: what is asked of the estimator, where the server must be told.
        """
        if columns is not None:
            return json.dumps({self.records: [dict(zip(columns, row, strict=True))]})
        if not self.open_inference:
            return json.dumps({"instances": [row]})
        tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP64", "data": row}
        return json.dumps({"inputs": [tensor], "outputs": [{"name": output}]})


ALWAYS = [
    Server(
        "bare uvicorn",
        ("uvicorn[standard]",),
        "{bin}/python -m uvicorn --app-dir {peers} bare:app --port {port} --no-access-log",
        "/",
        "/",
        configured="one worker, uvloop and httptools; no framework and no model",
    ),
    Server(
        "plain FastAPI",
        ("fastapi", "uvicorn[standard]", "scikit-learn"),
        "{bin}/python -m uvicorn --app-dir {peers} plain:app --port {port} --no-access-log",
        "/docs",
        configured="one worker, uvloop and httptools; `def` handler, in FastAPI's threads",
    ),
]
OTHERS = [
    Server(
        "mosec",
        ("mosec", "scikit-learn"),
        "{bin}/python {peers}/with_mosec.py --port {port}",
        "/metrics",
        "/inference",
        configured="one process, `max_batch_size=64`, `max_wait_time=1` ms (its dynamic batching)",
    ),
    Server(
        "LitServe",
        ("litserve", "scikit-learn"),
        "{bin}/python {peers}/with_litserve.py",
        "/health",
        variables={"PORT": str(PORT)},
        configured="one worker, `max_batch_size=64`, `batch_timeout=0.001` (its page on batching)",
    ),
    Server(
        "BentoML",
        ("bentoml", "scikit-learn"),
        "{bin}/python -m bentoml serve with_bentoml:Predictor --working-dir {peers} --port {port}",
        "/readyz",
        configured="one worker, adaptive batching with `max_batch_size=64` (its page on it)",
    ),
    Server(
        "MLServer",
        ("mlserver", "mlserver-sklearn", "scikit-learn"),
        "{bin}/mlserver start {scratch}",
        "/v2/health/ready",
        "/v2/models/m/infer",
        open_inference=True,
        configured="`max_batch_size=64`, `max_batch_time=0.001`; `parallel_workers=0`: one process",
    ),
    Server(
        "miraserver",
        ("miraserver", "scikit-learn"),
        "{bin}/python {peers}/with_miraserver.py --port {port} --folder {scratch}",
        "/readyz",
        "/v2/models/m/infer",
        configured="one worker, `max_batch_size: 64`, `batch_timeout: 0.001`, `adaptive_batching`; "
        "`threads: 1`, as one core is all it has",
    ),
    Server(
        "Ray Serve",
        ("ray[serve,haproxy]", "scikit-learn"),
        "{bin}/python {peers}/with_ray_serve.py --port {port}",
        "/predict",
        variables=RAY | {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        free_start=True,
        configured="HAProxy and `RAY_SERVE_THROUGHPUT_OPTIMIZED=1` (its page on high throughput), "
        "one replica, `serve.batch` of 64 within 1 ms; starts on all cores",
    ),
]


# Settings that trade something, each turned away from its default.
KNOBS: list[dict[str, str]] = [
    {"SERVING_INLINE_SECONDS": "0"},
    {"SERVING_MAX_BATCH_ROWS": "1"},
    {"SERVING_MAX_BATCH_ROWS": "32"},
    {"SERVING_MAX_BATCH_ROWS": "1024"},
    {"SERVING_THREADS": "2", "SERVING_INLINE_SECONDS": "0"},
]


def service_of(project: Path, name: str) -> Server:
    """The service of a rendered project that has an environment of its own."""
    with (project / "pyproject.toml").open("rb") as file:
        (script,) = tomllib.load(file)["project"]["scripts"]
    command = f"{project.resolve() / '.venv/bin' / script} serve --port {PORT}"
    return Server(name, (), command, "/readyz", variables={"SERVING_ACCESS_LOG": "false"})


def with_model(service: Server, directory: Path) -> Server:
    """The service with a model directory to serve."""
    return replace(service, variables=service.variables | {"SERVING_MODEL_DIR": str(directory)})


def turned(service: Server, knob: dict[str, str]) -> Server:
    """The service with other settings, and named for them."""
    name = " ".join(f"{key.removeprefix('SERVING_').lower()}={knob[key]}" for key in knob)
    return replace(service, name=name, variables=service.variables | knob)


# For the model of mixed columns, which is asked by their names.
MIXED = [
    ALWAYS[0],
    Server(
        "plain with pandas",
        ("fastapi", "uvicorn[standard]", "scikit-learn", "pandas"),
        "{bin}/python -m uvicorn --app-dir {peers} plain_pandas:app --port {port} --no-access-log",
        "/docs",
        configured="one worker, uvloop and httptools; `def` handler, in FastAPI's threads",
    ),
    Server(
        "MLflow",
        ("mlflow", "scikit-learn", "uvicorn[standard]"),
        "{bin}/python {peers}/with_mlflow.py --port {port} --folder {scratch}",
        "/ping",
        "/invocations",
        records="dataframe_records",
        configured="the scoring server of `mlflow models serve`, one worker, without its log",
    ),
]


def install(server: Server, work: Path) -> Path:
    """The bin folder of the server's own environment, made on first use."""
    root = work / "environments" / server.name.replace(" ", "-")
    if not (root / "complete").exists():
        uv("venv", "--clear", str(root))
        uv("pip", "install", "--compile-bytecode", "--python", str(root), *server.requirements)
        (root / "complete").touch()
    return root / "bin"


def uv(*arguments: str, cwd: Path | None = None) -> None:
    """Run uv quietly, with the Python of UV_PYTHON, or this one where it asks for one."""
    python = os.environ.get("UV_PYTHON") or sys.executable
    extra = ["--python", python] if arguments[0] in {"venv", "sync"} else []
    subprocess.run(["uv", *arguments, *extra, "--quiet"], check=True, cwd=cwd)


def choose_python(name: str) -> None:
    """Let every environment have this Python: a version, or the path of a binary.

    Raises SystemExit if there is none.
    """
    found = subprocess.run(
        ["uv", "python", "find", "--no-project", name], capture_output=True, text=True, check=False
    )
    if found.returncode:
        sys.exit(f"there is no Python {name}. Install it, or give the path of its binary.")
    os.environ["UV_PYTHON"] = found.stdout.strip()


def python_version() -> str:
    """Of the Python that every environment has."""
    command = [os.environ.get("UV_PYTHON") or sys.executable, "-c"]
    text = "import platform; print(platform.python_version())"
    return subprocess.check_output([*command, text], text=True).strip()


def configure_mlserver(scratch: Path, model: Path) -> None:
    """MLServer without its pool of processes, as the others have one process that predicts."""
    scratch.mkdir(parents=True, exist_ok=True)
    settings = {"debug": False, "parallel_workers": 0, "http_port": PORT}
    settings |= {"grpc_port": PORT + 1, "metrics_port": PORT + 2}
    served = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
        "parameters": {"uri": str(model)},
    }
    (scratch / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (scratch / "model-settings.json").write_text(json.dumps(served), encoding="utf-8")
