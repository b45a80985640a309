"""Fit the two models of the benchmark and write what every server needs of them.

    python models.py OUT_DIR
    python models.py OUT_DIR --large TREES

Both are binary classifiers of the 30 float64 columns of scikit-learn's breast-cancer data:
`logreg` (scaler and logistic regression: the cost of a request dominates) and `forest` (scaler and
100 trees: a large fixed cost per call, so batching dominates). Written are NAME.joblib,
NAME-answers.json (the model's own probabilities), rows.json and rows.csv (the first 512 rows).
`large` is a forest over the same columns that learned noise by heart: about 5 MiB for each tree.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NOISE = 50_000
ROWS = 512  # distinct bodies: no server can answer from a cache of one


def main(out: Path, trees: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    data = load_breast_cancer()
    rows = data.data[:ROWS]
    if trees:
        models = {"large": large(data.data, trees)}
    else:
        estimators = {
            "logreg": LogisticRegression(max_iter=1000),
            "forest": RandomForestClassifier(n_estimators=100, random_state=0),
        }
        models = {
            name: make_pipeline(StandardScaler(), estimator).fit(data.data, data.target)
            for name, estimator in estimators.items()
        }
    for name, model in models.items():
        joblib.dump(model, out / f"{name}.joblib")
        answers = model.predict_proba(rows).tolist()
        (out / f"{name}-answers.json").write_text(json.dumps(answers), encoding="utf-8")
    (out / "rows.json").write_text(json.dumps(rows.tolist()), encoding="utf-8")
    with (out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(name.replace(" ", "_") for name in data.feature_names)
        writer.writerows(rows.tolist())


def large(rows: Any, trees: int) -> Any:
    """A forest that cannot generalize, so that its trees grow as large as the data allows."""
    random = np.random.default_rng(0)
    noise = rows.std(axis=0) * random.standard_normal((NOISE, rows.shape[1])) + rows.mean(axis=0)
    forest = ExtraTreesClassifier(trees, max_features=1, random_state=0, n_jobs=-1)
    return forest.fit(noise, random.integers(2, size=NOISE))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0]), int(arguments[2]) if arguments[1:2] == ["--large"] else 0)
