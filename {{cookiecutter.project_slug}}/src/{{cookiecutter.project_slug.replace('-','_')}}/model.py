"""The model: a class that loads its files once per process, and predicts batches of rows.

Replace what it does by what your model needs, in any library; then `model package` records its files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from serving_engine import PythonModel


class Model(PythonModel):
    """A network with one hidden layer: scaled columns in, a probability for each class out."""

    def load(self, directory: Path) -> None:
        """Read the weights and the names of the classes from the files that were packaged."""
        about = json.loads((directory / "network.json").read_text(encoding="utf-8"))
        self.classes = about["classes"]
        with np.load(directory / "weights.npz", allow_pickle=False) as weights:
            self.mean = weights["mean"]
            self.scale = weights["scale"]
            self.layers = [(weights["w1"], weights["b1"]), (weights["w2"], weights["b2"])]

    def predict(self, rows: Any) -> dict[str, Any]:
        """The probabilities (n, classes) of rows (n, columns)."""
        (w1, b1), (w2, b2) = self.layers
        hidden = np.maximum((rows - self.mean) / self.scale @ w1 + b1, 0)
        scores = hidden @ w2 + b2
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return {"probabilities": exponentials / exponentials.sum(axis=1, keepdims=True)}
