"""The servers that are measured: how each is installed, started and asked."""

import json
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


@dataclass(frozen=True)
class Server:
    """A server of the benchmark.

    command: with {bin} (of its environment), {peers}, {port} and {scratch} filled in.
    ready: the path that answers once it may be asked. predict: the path that is measured.
    open_inference: whether bodies are Open Inference tensors; else {"instances": [[...]]}.
    records: the member that rows by name are in.
    """

    name: str
    requirements: tuple[str, ...]
    command: str
    ready: str
    predict: str = "/predict"
    open_inference: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    records: str = "instances"

    def body(self, row: list[Any], columns: list[str] | None = None) -> str:
        """The request for one row, as an array, or as an object with these columns."""
        if columns is not None:
            return json.dumps({self.records: [dict(zip(columns, row, strict=True))]})
        if not self.open_inference:
            return json.dumps({"instances": [row]})
        tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP64", "data": row}
        return json.dumps({"inputs": [tensor], "outputs": [{"name": "predict_proba"}]})


ALWAYS = [
    Server(
        "bare uvicorn",
        ("uvicorn[standard]",),
        "{bin}/python -m uvicorn --app-dir {peers} bare:app --port {port} --no-access-log",
        "/",
        "/",
    ),
    Server(
        "plain FastAPI",
        ("fastapi", "uvicorn[standard]", "scikit-learn"),
        "{bin}/python -m uvicorn --app-dir {peers} plain:app --port {port} --no-access-log",
        "/docs",
    ),
]
OTHERS = [
    Server(
        "mosec",
        ("mosec", "scikit-learn"),
        "{bin}/python {peers}/with_mosec.py --port {port}",
        "/metrics",
        "/inference",
    ),
    Server(
        "LitServe",
        ("litserve", "scikit-learn"),
        "{bin}/python {peers}/with_litserve.py",
        "/health",
        variables={"PORT": str(PORT)},
    ),
    Server(
        "BentoML",
        ("bentoml", "scikit-learn"),
        "{bin}/python -m bentoml serve with_bentoml:Predictor --working-dir {peers} --port {port}",
        "/readyz",
    ),
    Server(
        "MLServer",
        ("mlserver", "mlserver-sklearn", "scikit-learn"),
        "{bin}/mlserver start {scratch}",
        "/v2/health/ready",
        "/v2/models/m/infer",
        open_inference=True,
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
    ),
    Server(
        "MLflow",
        ("mlflow", "scikit-learn", "uvicorn[standard]"),
        "{bin}/python {peers}/with_mlflow.py --port {port} --folder {scratch}",
        "/ping",
        "/invocations",
        records="dataframe_records",
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
    """Run uv quietly, with this interpreter where it asks for one."""
    extra = ["--python", sys.executable] if arguments[0] in {"venv", "sync"} else []
    subprocess.run(["uv", *arguments, *extra, "--quiet"], check=True, cwd=cwd)


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
