"""Fit the sample models on scikit-learn's bundled iris data.

    python train.py OUT_DIR

Writes what `model package` turns into model directories: OUT_DIR/iris.joblib, a linear pipeline,
for the runtimes scikit-learn and onnx; OUT_DIR/weights.npz and network.json, a network for the
class in a project's model.py; and the rows in OUT_DIR/iris.csv. Needs scikit-learn.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]  # centimetres


def main(out: Path) -> None:
    """Fit and write."""
    out.mkdir(parents=True, exist_ok=True)
    iris = load_iris()
    species = iris.target_names[iris.target]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    joblib.dump(model.fit(iris.data, species), out / "iris.joblib")
    write_network(iris.data, species, out)
    with (out / "iris.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(iris.data.tolist())


def write_network(rows: np.ndarray, species: np.ndarray, out: Path) -> None:
    scaler = StandardScaler().fit(rows)
    network = MLPClassifier((16,), alpha=0.1, max_iter=2000, random_state=0)
    network.fit(scaler.transform(rows), species)
    (w1, w2), (b1, b2) = network.coefs_, network.intercepts_
    np.savez(
        out / "weights.npz", mean=scaler.mean_, scale=scaler.scale_, w1=w1, b1=b1, w2=w2, b2=b2
    )
    about = {"classes": network.classes_.tolist()}
    (out / "network.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
