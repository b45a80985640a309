"""Fit the two models of the benchmark and write what every server needs of them.

    python models.py OUT_DIR

Both are binary classifiers of the 30 float64 columns of scikit-learn's breast-cancer data:
`logreg` (scaler and logistic regression: the cost of a request dominates) and `forest` (scaler and
100 trees: a large fixed cost per call, so batching dominates). Written are NAME.joblib,
NAME-answers.json (the model's own probabilities), rows.json and rows.csv (the first 512 rows).
"""

import csv
import json
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS = 512  # distinct bodies: no server can answer from a cache of one


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    data = load_breast_cancer()
    rows = data.data[:ROWS]
    estimators = {
        "logreg": LogisticRegression(max_iter=1000),
        "forest": RandomForestClassifier(n_estimators=100, random_state=0),
    }
    for name, estimator in estimators.items():
        model = make_pipeline(StandardScaler(), estimator).fit(data.data, data.target)
        joblib.dump(model, out / f"{name}.joblib")
        answers = model.predict_proba(rows).tolist()
        (out / f"{name}-answers.json").write_text(json.dumps(answers), encoding="utf-8")
    (out / "rows.json").write_text(json.dumps(rows.tolist()), encoding="utf-8")
    with (out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(name.replace(" ", "_") for name in data.feature_names)
        writer.writerows(rows.tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
