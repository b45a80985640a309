"""Words for files and objects that cannot be packaged: what each is, and what to do instead."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..distribution import add_command
from ..model_files.zip_check import content_hint
from ..text import reason

BY_A_CLASS = (
    "serve it by a class of yours, `class Model(PythonModel)` with `load` and `predict` in "
    "model.py: --runtime python"
)
_KINDS_OF_MODELS = (
    "Estimators of scikit-learn can be packaged, and the scikit-learn classes of XGBoost and "
    f"LightGBM; or {BY_A_CLASS}"
)

_FILES_OF_OTHERS = {
    ".cbm": "a model of CatBoost",
    ".h5": "a model of Keras",
    ".json": "a native Booster of XGBoost",
    ".keras": "a model of Keras",
    ".onnx": "a model of ONNX",
    ".pb": "a model of TensorFlow",
    ".pmml": "a model of PMML",
    ".pt": "a model of PyTorch",
    ".pth": "a model of PyTorch",
    ".safetensors": "the weights of a network",
    ".txt": "a native Booster of LightGBM",
    ".ubj": "a native Booster of XGBoost",
}
"""The suffixes of files that other libraries write."""

_LIBRARIES_OF_OTHERS = {
    "catboost": "CatBoost",
    "flax": "Flax",
    "jax": "JAX",
    "keras": "Keras",
    "prophet": "Prophet",
    "pyspark": "Spark",
    "statsmodels": "statsmodels",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
    "transformers": "Transformers",
}
"""The names of libraries, by the package that has their models."""

_BOOSTERS = {
    "xgboost": "Load its own file into the class that it is for (`model = XGBClassifier(); "
    "model.load_model(file)`, or XGBRegressor)",
    "lightgbm": "Fit LGBMClassifier or LGBMRegressor in its place",
}
_CONTENTS = (
    (b"PK\x03\x04", "is a zip archive, as PyTorch and Keras write it"),
    (b"{", "is JSON text"),
)
"""What the first bytes of files say that are no pickles."""


def unsupported_suffix(path: Path) -> str:
    """The error for a file with a suffix that `model package` does not read."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return f"{path} is {_FILES_OF_OTHERS[suffix]}, by its suffix. Package it: --runtime onnx."
    if suffix in _FILES_OF_OTHERS:
        return f"{path} is {_FILES_OF_OTHERS[suffix]}, by its suffix. {_KINDS_OF_MODELS}."
    found = f"the suffix {suffix}, which does not say" if suffix else "no suffix that would say"
    return (
        f"{path} has {found} what it holds. If joblib or pickle wrote it, rename it "
        "to .joblib; a file of skops to .skops."
    )


def wrong_content(path: Path) -> str | None:
    """The error for a file whose first bytes are those of no model; None for any other file."""
    with path.open("rb") as file:
        data = file.read(64)
    if not data:
        return f"{path} is empty. Save the model again, or copy the whole file."
    hint = content_hint(data)
    if hint.remedy:
        return f"{path} is {hint.found}. {hint.remedy}"
    if path.suffix.lower() == ".skops":
        return None
    found = next((text for start, text in _CONTENTS if data.startswith(start)), None)
    if found is None:
        return None
    return f"{path} {found}, and not a pickle. {_KINDS_OF_MODELS}: save one with joblib."


def unreadable(path: Path, error: Exception, libraries: Sequence[str]) -> str:
    """The error for a pickle that cannot be read.

    libraries: the packages that a model may need besides scikit-learn.
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{path} {_missing_module(error.name, libraries)}"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return (
            f"{path} holds a class of the script or notebook that wrote it ({reason(error)}). Move "
            "the class to transformers.py, import it from there in the script, and save the model "
            "again."
        )
    return (
        f"{path} is damaged, or joblib and pickle of this environment cannot read it "
        f"({reason(error)}). Copy it again, package it in the environment that wrote it, or fit "
        "the model again here; your own classes must be in transformers.py."
    )


def _missing_module(name: str, libraries: Sequence[str]) -> str:
    package = name.partition(".")[0]
    if package in libraries:
        return f"needs {package}, which is not installed. Add it: {add_command(package)}."
    if package == "sklearn":
        return (
            f"needs {name}, which the installed scikit-learn does not have: another release wrote "
            "the file. Fit the model again here, or install that release."
        )
    if package in _LIBRARIES_OF_OTHERS:
        return f"holds a model of {_LIBRARIES_OF_OTHERS[package]}. {_KINDS_OF_MODELS}."
    return (
        f"needs the module {name}, which is not installed. If it is a library, add it: "
        f"{add_command(package)}. If it is your own code, move its classes to transformers.py, "
        "import them from there where you fit, and save the model again."
    )


def cannot_predict(value: Any) -> str | None:
    """What a value is, and what to do, if it is no estimator that can predict; else None."""
    if found := _of_another_library(value):
        return found
    if isinstance(value, type):
        return f"the class {value.__name__}, not a fitted object of it. Save the fitted model."
    if callable(getattr(value, "predict", None)):
        return None
    kind = type(value).__name__
    if isinstance(value, dict | list | tuple):
        parts = value.values() if isinstance(value, dict) else value
        return (
            f"a {kind} of {_names(parts)}, not one model. Join a model and the steps before it in "
            "a pipeline (`make_pipeline(scaler, model)`) and save that; of several models, save "
            "one."
        )
    return f"a {kind}{_without_predict(value)}"


def _of_another_library(value: object) -> str | None:
    kind = type(value).__name__
    package = type(value).__module__.partition(".")[0]
    if package in _BOOSTERS and kind == "Booster":
        return f"a native Booster of {package}. {_BOOSTERS[package]}, and save that with joblib."
    if package in _LIBRARIES_OF_OTHERS:
        return f"a {kind} of {_LIBRARIES_OF_OTHERS[package]}. {_KINDS_OF_MODELS}."
    return None


def _without_predict(value: Any) -> str:
    """What an object without the method `predict` is, and what to do; it follows its type."""
    if hasattr(value, "refit"):
        return " without a best estimator. Fit it with refit=True."
    if hasattr(value, "fit") and hasattr(value, "transform"):
        last = f" that ends with {type(value.steps[-1][1]).__name__}" if _is_pipeline(value) else ""
        return (
            f"{last}, a preprocessor without its model. Save the pipeline that ends with the "
            "model: `make_pipeline(preprocessor, model)`."
        )
    if hasattr(value, "fit_predict"):
        return (
            ", which has predictions for the rows that it was fitted on alone. Take an estimator "
            "with the method predict, such as KMeans."
        )
    return ", which has no method predict. Save the fitted model: `joblib.dump(model, file)`."


def _is_pipeline(value: Any) -> bool:
    return bool(getattr(value, "steps", None))


def _names(values: Iterable[object], most: int = 5) -> str:
    names = [type(value).__name__ for value in values]
    shown = names[:most] + (["…"] if len(names) > most else [])
    return ", ".join(shown) or "nothing"
