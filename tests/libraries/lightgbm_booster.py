"""A native Booster of LightGBM, from its text."""

import json
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from serving_engine import PythonModel


class Model(PythonModel):
    """A classifier of three classes."""

    classes = (0, 1, 2)

    def load(self, directory: Path) -> None:
        self.booster = lightgbm.Booster(model_file=directory / "booster.txt")

    def predict(self, rows: Any) -> dict[str, Any]:
        return {"probabilities": self.booster.predict(rows, num_threads=1)}


def train(out: Path) -> None:
    import pandas as pd

    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 3))
    target = np.digitize(rows[:, 0] + rows[:, 1], [-0.5, 0.5])
    options = {"objective": "multiclass", "num_class": 3, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(rows, target), num_boost_round=20)
    booster.save_model(out / "booster.txt")
    pd.DataFrame(rows[:40], columns=["a", "b", "c"]).to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:10]
    expected = booster.predict(asked.to_numpy()).tolist()
    (out / "expected.json").write_text(json.dumps([asked.to_dict("records"), expected]))


FILES = ["booster.txt"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
