"""Fit the models of the benchmark and write what every server needs of them.

    python models.py OUT_DIR [--mixed]
    python models.py OUT_DIR --large TREES

Most are binary classifiers of the 30 float64 columns of scikit-learn's breast-cancer data, each
after a scaler: `logreg` (the cost of a request dominates), `forest` (100 trees: a large fixed cost
per call, so batching dominates), `svc` (labels only), `neighbors`, `boosting` and `histboosting`.
Written are NAME.joblib, NAME-answers.json (the model's own probabilities, or labels), rows.json and
rows.csv (the first 512 rows).
`large` is a forest over the same columns that learned noise by heart: about 5 MiB for each tree.

With `--mixed`, which needs pandas, there is `mixed`: ten named columns of numbers, integers,
booleans and strings, with gaps, through imputers, scaler and encoders into a logistic regression.
Its rows are in mixed-rows.json and mixed-rows.csv.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

NOISE = 50_000
ROWS = 512  # distinct bodies: no server can answer from a cache of one


def main(out: Path, trees: int, mixed: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if mixed:
        write_mixed(out)
    data = load_breast_cancer()
    rows = data.data[:ROWS]
    if trees:
        models = {"large": large(data.data, trees)}
    else:
        estimators = {
            "logreg": LogisticRegression(max_iter=1000),
            "forest": RandomForestClassifier(n_estimators=100, random_state=0),
            "svc": SVC(),
            "neighbors": KNeighborsClassifier(),
            "boosting": GradientBoostingClassifier(random_state=0),
            "histboosting": HistGradientBoostingClassifier(random_state=0),
        }
        models = {
            name: make_pipeline(StandardScaler(), estimator).fit(data.data, data.target)
            for name, estimator in estimators.items()
        }
    for name, model in models.items():
        joblib.dump(model, out / f"{name}.joblib")
        scores = getattr(model, "predict_proba", None)
        answers = (scores(rows) if scores else model.predict(rows)[:, None]).tolist()
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


def write_mixed(out: Path) -> None:
    import pandas

    random = np.random.default_rng(0)
    numbers = ["income", "balance", "height", "weight", "age", "visits"]
    flags, texts = ["member", "mobile"], ["plan", "city"]
    table = pandas.DataFrame(
        {
            **{name: random.normal(100, 20, ROWS).round(3) for name in numbers[:4]},
            **{name: random.integers(1, 90, ROWS) for name in numbers[4:]},
            **{name: random.random(ROWS) > 0.5 for name in flags},
            "plan": random.choice(["basic", "plus", "pro"], ROWS),
            "city": random.choice(["Basel", "Bern", "Genève", "Zürich"], ROWS),
        }
    )
    table.loc[::7, "income"] = np.nan  # a gap in text is None to MLflow, which no imputer fills
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            ),
            texts,
        ),
        remainder="passthrough",
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    model.fit(table, (table["age"] > 40) ^ (table["plan"] == "pro"))
    joblib.dump(model, out / "mixed.joblib")
    answers = model.predict_proba(table).tolist()
    (out / "mixed-answers.json").write_text(json.dumps(answers), encoding="utf-8")
    rows = json.loads(table.to_json(orient="values", double_precision=15))
    (out / "mixed-rows.json").write_text(json.dumps(rows), encoding="utf-8")
    table.to_csv(out / "mixed-rows.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--large", type=int, default=0, metavar="TREES")
    parser.add_argument("--mixed", action="store_true")
    given = parser.parse_args()
    main(given.out, given.large, given.mixed)
