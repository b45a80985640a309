"""Fit the models of the benchmark and write what every server needs of them.

    python models.py OUT_DIR [mixed]

Two are binary classifiers of the 30 float64 columns of scikit-learn's breast-cancer data:
`logreg` (scaler and logistic regression: the cost of a request dominates) and `forest` (scaler and
100 trees: a large fixed cost per call, so batching dominates). Written are NAME.joblib,
NAME-answers.json (the model's own probabilities), rows.json and rows.csv (the first 512 rows).

With `mixed`, which needs pandas, there is a third: ten named columns of numbers, integers, booleans
and strings, with gaps, through imputers, scaler and encoders into a logistic regression. Its rows
are in mixed-rows.json and mixed-rows.csv.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 512  # distinct bodies: no server can answer from a cache of one


def main(out: Path, mixed: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if mixed:
        write_mixed(out)
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
    main(Path(sys.argv[1]), "mixed" in sys.argv[2:])
