"""A native Booster of XGBoost, from its JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from serving_engine import PythonModel


class Model(PythonModel):
    """A regression with gaps."""

    def load(self, directory: Path) -> None:
        self.booster = xgboost.Booster(model_file=str(directory / "booster.json"))
        self.booster.set_param({"nthread": 1})

    def predict(self, rows: Any) -> Any:
        return {"values": self.booster.inplace_predict(rows)}


def train(out: Path) -> None:
    import pandas as pd

    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 3))
    rows[::9, 1] = np.nan
    target = rows[:, 0] * 3 + np.nan_to_num(rows[:, 1]) ** 2
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, target), num_boost_round=20)
    booster.save_model(out / "booster.json")
    pd.DataFrame(rows[:40], columns=["a", "b", "c"]).to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:12]
    expected = booster.predict(xgboost.DMatrix(asked.to_numpy())).astype(float).tolist()
    records = asked.astype(object).where(asked.notna(), None).to_dict("records")
    (out / "expected.json").write_text(json.dumps([records, expected]))


FILES = ["booster.json"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
