"""The model of the runtime `python`: a linear classifier whose weights are in two files."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from serving_engine import PythonModel


class Model(PythonModel):
    """Reads `weights/coefficients.npy` and `model.json`, which says what else it does.

    `fails`: an exception in `load`. A negative first column is one in `predict`.
    """

    def load(self, directory: Path) -> None:
        config = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        if config.get("fails"):
            raise RuntimeError(config["fails"])
        self.classes = config["classes"]
        self.weights = np.load(directory / "weights" / "coefficients.npy", mmap_mode="r")
        self.pid = os.getpid()
        self.threads: set[int] = set()

    def predict(self, rows: Any) -> dict[str, Any]:
        if (rows[:, 0] < 0).any():
            raise ValueError("the first column is negative")
        self.threads.add(threading.get_ident())
        scores = np.exp(rows @ self.weights)
        return {"probabilities": scores / scores.sum(axis=1, keepdims=True)}


class Unshared(Model):
    """The same, where every worker must load its own."""

    fork_safe = False
