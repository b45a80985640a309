"""Two estimators of scikit-learn and a rule, in one class."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from serving_engine import PythonModel


class Model(PythonModel):
    """The mean of a forest and a line, and nothing below zero."""

    def load(self, directory: Path) -> None:
        self.parts = [
            skops.io.load(directory / f"{name}.skops", trusted=["sklearn.tree._tree.Tree"])
            for name in ("forest", "line")
        ]
        for part in self.parts:
            part.set_params(n_jobs=1)

    def predict(self, rows: Any) -> Any:
        values = [part.predict(rows) for part in self.parts]
        return {"values": np.maximum(np.mean(values, axis=0), 0)}


def train(out: Path) -> None:
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3))
    target = rows[:, 0] * 2 + np.abs(rows[:, 1])
    models = [RandomForestRegressor(20, random_state=0), LinearRegression()]
    for name, model in zip(("forest", "line"), models, strict=True):
        skops.io.dump(model.fit(rows, target), out / f"{name}.skops")
    pd.DataFrame(rows[:40], columns=["a", "b", "c"]).to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:10]
    values = [model.predict(asked.to_numpy()) for model in models]
    expected = np.maximum(np.mean(values, axis=0), 0).tolist()
    (out / "expected.json").write_text(json.dumps([asked.to_dict("records"), expected]))


FILES = ["forest.skops", "line.skops"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
