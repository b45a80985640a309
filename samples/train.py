"""Fit the sample model: a linear pipeline on scikit-learn's bundled iris data.

    python train.py OUT_DIR

Writes OUT_DIR/iris.joblib and OUT_DIR/iris.csv, which `model package` turns into a model
directory. Needs what a generated project has installed.
"""

import csv
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]  # centimetres


def main(out: Path) -> None:
    """Fit and write."""
    out.mkdir(parents=True, exist_ok=True)
    iris = load_iris()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(iris.data, iris.target_names[iris.target])
    joblib.dump(model, out / "iris.joblib")
    with (out / "iris.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(iris.data.tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
