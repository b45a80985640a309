"""Models for tests: fitted on the spot, packaged as users package theirs, or made to misbehave.

Few rows are examples: to package a model calls it some times for each.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from {{ cookiecutter.__package_name }}.artifact.load import Batch, LoadedModel
from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest
from {{ cookiecutter.__package_name }}.packaging.package import package
from {{ cookiecutter.__package_name }}.schema.answers import Outputs


def package_iris(directory: Path, **options: Any) -> Path:
    """Package a linear classifier of four columns; return its directory."""
    iris = load_iris()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        iris.data, iris.target_names[iris.target]
    )
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return package_estimator(model, names, iris.data[::10], directory, **options)


def package_diabetes(directory: Path, **options: Any) -> Path:
    """Package a linear regressor of ten columns; return its directory."""
    diabetes = load_diabetes()
    model = LinearRegression().fit(diabetes.data, diabetes.target)
    rows = diabetes.data[::30]
    return package_estimator(model, diabetes.feature_names, rows, directory, **options)


def package_estimator(
    model: Any, names: list[str], rows: Any, directory: Path, **options: Any
) -> Path:
    directory.parent.mkdir(parents=True, exist_ok=True)
    file = directory.parent / "estimator.joblib"
    joblib.dump(model, file)
    examples = directory.parent / "examples.csv"
    write_csv(examples, names, rows)
    package(file, examples, directory, **{"name": "test", "version": "1", **options})
    return directory


def write_csv(path: Path, names: list[str], rows: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows.tolist())
    return path


def with_predict(loaded: LoadedModel, predict: Callable[[Batch], Outputs]) -> LoadedModel:
    """The same manifest over another function."""
    return LoadedModel(loaded.manifest, predict, loaded.seconds)


def example_row(manifest: Manifest) -> list[float]:
    """The first golden example, in signature order."""
    return [manifest.examples[0].input[name] for name in manifest.signature.columns]
