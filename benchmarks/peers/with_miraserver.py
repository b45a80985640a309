"""miraserver: its HTTP side is Rust; one Python worker predicts batches of up to 64 within 1 ms."""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from lite_server import LitAPI
from scoring import load_scorer

BATCHES = {"max_batch_size": 64, "batch_timeout": 0.001, "adaptive_batching": True}


class Predictor(LitAPI):
    def setup(self, device):  # noqa: ARG002
        self.score = load_scorer()

    def decode_request(self, request):
        return np.asarray(request["instances"])

    def batch(self, inputs):
        return np.concatenate(inputs), np.cumsum([len(rows) for rows in inputs])[:-1]

    def predict(self, x):
        if isinstance(x, tuple):
            rows, ends = x
            return np.split(self.score(rows), ends)
        return self.score(x)  # a request alone does not pass `batch`

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"predictions": output.tolist()}


def main() -> None:
    """Write a model repository around this file, and serve it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder / "miraserver"
    version = folder / "models/m/1"
    version.mkdir(parents=True, exist_ok=True)
    # JSON is YAML too.
    (version / "config.yaml").write_text(json.dumps(BATCHES), encoding="utf-8")
    (version / "model.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    config = {
        "server": {"http_port": given.port, "metrics_port": given.port + 2, "threads": 1},
        "grpc": {"enabled": False},
        "logging": {"level": "warn"},
        "model_repository": {"path": str(folder / "models")},
        "orchestration": {"load_models": ["m"], "models": [{"name": "m", "load_policy": "latest"}]},
    }
    config["server"]["host"] = "127.0.0.1"
    (folder / "server.yaml").write_text(json.dumps(config), encoding="utf-8")
    binaries = Path(sys.executable).parent
    # Its worker is the `python3` of PATH.
    os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.execv(binaries / "lite-server", ["lite-server", "serve", "--config", folder / "server.yaml"])


if __name__ == "__main__":
    main()
