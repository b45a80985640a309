"""A network of JAX, with its weights in safetensors."""

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from safetensors.numpy import load_file
from serving_engine import PythonModel


def scores(weights: dict[str, Any], rows: Any) -> Any:
    """The network: a hidden layer, and a score for each class."""
    return jax.nn.relu(rows @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"]


class Model(PythonModel):
    """JAX starts threads, so every worker loads the network itself."""

    classes = ("small", "middle", "large")
    fork_safe: ClassVar[bool] = False

    def load(self, directory: Path) -> None:
        self.weights = load_file(directory / "network.safetensors")
        self.scores = jax.jit(scores)

    def predict(self, rows: Any) -> dict[str, Any]:
        found = self.scores(self.weights, rows.astype(np.float32))
        return {"probabilities": np.asarray(jax.nn.softmax(found))}


def train(out: Path) -> None:
    import pandas as pd
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 4)).astype(np.float32)
    target = np.digitize(rows.sum(axis=1), [-1, 1])
    weights = {
        name: random.normal(size=shape).astype(np.float32) * 0.3
        for name, shape in {"w1": (4, 16), "b1": 16, "w2": (16, 3), "b2": 3}.items()
    }

    def loss(weights: dict[str, Any]) -> Any:
        chosen = jax.nn.log_softmax(scores(weights, rows))[np.arange(len(rows)), target]
        return -chosen.mean()

    step = jax.jit(jax.grad(loss))
    for _ in range(200):
        changes = step(weights)
        weights = {name: weight - 0.5 * changes[name] for name, weight in weights.items()}
    weights = {name: np.asarray(weight) for name, weight in weights.items()}
    save_file(weights, out / "network.safetensors")
    frame = pd.DataFrame(rows[:40].astype(float), columns=["a", "b", "c", "d"])
    frame.to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:10]
    expected = jax.nn.softmax(scores(weights, asked.to_numpy(np.float32)))
    (out / "expected.json").write_text(
        json.dumps([asked.to_dict("records"), np.asarray(expected, dtype=float).tolist()])
    )


FILES = ["network.safetensors"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
