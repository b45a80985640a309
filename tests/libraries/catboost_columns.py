"""CatBoost with columns of categories, from its own file."""

import json
import sys
from pathlib import Path
from typing import Any

import catboost
from serving_engine import PythonModel


class Model(PythonModel):
    """A classifier whose categories are columns of texts."""

    classes = ("leaves", "stays")

    def load(self, directory: Path) -> None:
        self.model = catboost.CatBoostClassifier()
        self.model.load_model(directory / "churn.cbm")

    def predict(self, rows: Any) -> dict[str, Any]:
        filled = rows.assign(plan=rows["plan"].fillna("none").astype(object))
        return {"probabilities": self.model.predict_proba(filled, thread_count=1)}


def train(out: Path) -> None:
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "age": random.uniform(18, 90, 300),
            "plan": pd.Series(random.choice(["basic", "plus", "pro"], 300), dtype=object),
        }
    )
    stays = (rows["age"] > 60) ^ (rows["plan"] == "pro")
    model = catboost.CatBoostClassifier(
        iterations=30, verbose=False, allow_writing_files=False, thread_count=1
    )
    model.fit(rows, np.where(stays, "stays", "leaves"), cat_features=["plan"])
    model.save_model(str(out / "churn.cbm"))
    rows[:40].to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:10].astype({"plan": object})
    expected = model.predict_proba(asked).tolist()
    (out / "expected.json").write_text(json.dumps([asked.to_dict("records"), expected]))


FILES = ["churn.cbm"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
