"""Models for tests: fitted in fixtures, and packaged as users package theirs.

Only a few rows are examples, as packaging calls the model several times for each.
"""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
from serving_engine.build_model import build
from serving_engine.build_model.builder import Trust
from serving_engine.cli.predict.run import PredictOptions, predict_file
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes import load
from serving_engine.runtimes.base import LoadedModel, OwnerCode
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Values
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .example_service import transformers


def package(
    file: Path,
    examples: Path | str,
    directory: Path,
    *,
    trusted_types: Sequence[str] = (),
    review: Callable[[Sequence[str]], bool] = lambda _: False,
    **options: Any,
) -> Path:
    """Package as the example service's command `model package` does."""
    trust = Trust(trusted_types, transformers.__name__, review)
    options = {"name": "test", "version": "1", **options}
    return build.package(file, examples, directory, trust=trust, **options)


def load_directory(directory: Path, max_bytes: int = 2**31) -> LoadedModel:
    """Load as the example service does."""
    return load.load_directory(directory, max_bytes, OwnerCode(transformers.__name__))


def package_iris(directory: Path, **options: Any) -> Path:
    """Package a linear classifier of four columns; return its directory."""
    iris = load_iris()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        iris.data, iris.target_names[iris.target]
    )
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return package_estimator(model, names, iris.data[::10], directory, **options)


def package_held(directory: Path, **options: Any) -> Path:
    """Package a classifier whose loading waits, as `transformers.Held` says."""
    iris = load_iris()
    model = make_pipeline(transformers.Held(), LogisticRegression(max_iter=1000))
    model.fit(iris.data, iris.target_names[iris.target])
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    held = f"{transformers.__name__}.Held"
    options = {"trusted_types": [held], **options}
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
    package(file, examples, directory, **options)
    return directory


def write_csv(path: Path, names: list[str], rows: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows.tolist())
    return path


def predict_rows(
    rows: Path, model: LoadedModel, note: Callable[[str], None] = lambda _: None
) -> list[Any]:
    """The predictions that the command `predict` writes for the rows of a file."""
    result = rows.with_name("result.jsonl")
    predict_file(PredictOptions(rows, result), model, note)
    return [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]


def with_predict(loaded: LoadedModel, predict: Callable[[Values], Outputs]) -> LoadedModel:
    """The same model with another `predict`, of unknown speed."""
    return LoadedModel(loaded.manifest, predict, loaded.seconds)


def example_row(manifest: Manifest) -> list[float]:
    """The first golden example, in signature order."""
    return [manifest.examples[0].input[name] for name in manifest.signature.columns]
