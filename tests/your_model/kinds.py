"""Every kind of model that the project must package and serve, fitted on the spot.

A kind is a function that gives the fitted estimator and its examples: a DataFrame, an array or a
list of texts, exactly as the estimator was fitted on them.
"""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from iris_service import transformers
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_diabetes, load_iris, load_linnerud
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

RANDOM = np.random.default_rng(0)
IRIS = load_iris()
X, Y = IRIS.data, IRIS.target
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
HOLES = np.where(RANDOM.random(X.shape) < 0.1, np.nan, X)
TEXTS = [
    f"{mood} {thing} {ending}"
    for mood in ("good", "bad", "great [really]", 'awful "thing"', "dull {sic}", "")
    for thing in ("film", "book", "día", "\u2603")
    for ending in ("indeed", "again", "")
]

Kind = Callable[[], tuple[Any, Any]]


def mixed() -> pd.DataFrame:
    """Numeric, boolean, integer and string columns, with missing values."""
    count = 150
    frame = pd.DataFrame(
        {
            "age": RANDOM.integers(18, 90, count),
            "income": RANDOM.normal(3e4, 1e4, count),
            "member": RANDOM.random(count) > 0.5,
            "plan": RANDOM.choice(["basic", "plus", "pro"], count),
            "city": RANDOM.choice(["Bern", "Genève", "Zürich"], count),
        }
    )
    frame.loc[::7, "income"] = np.nan
    frame.loc[::11, "city"] = None
    return frame


def columns(**options: Any) -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        (
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**options)),
            ["plan", "city"],
        ),
        remainder="passthrough",
    )


def fitted(estimator: Any, rows: Any, target: Any = None) -> Kind:
    """A kind of its own for each use: nothing is fitted before it is asked for."""
    return lambda: (estimator.fit(rows, target), rows)


def with_frame(estimator: Any, target: Any = Y) -> Kind:
    def fit() -> tuple[Any, Any]:
        frame = mixed()
        return estimator.fit(frame, target), frame

    return fit


def of_array(estimator: Any) -> tuple[Any, Any]:
    rows = mixed()[["plan", "city"]].to_numpy(dtype=object)
    return estimator.fit(rows, Y), rows


def of_categories(estimator: Any) -> tuple[Any, Any]:
    frame = mixed().astype({"plan": "category", "city": "category"})
    return estimator.fit(frame, Y), frame


KINDS: dict[str, Kind] = {
    "a linear pipeline": fitted(make_pipeline(StandardScaler(), LogisticRegression()), X, NAMES),
    "a pipeline fitted on a DataFrame": fitted(
        make_pipeline(StandardScaler(), LogisticRegression()),
        pd.DataFrame(X, columns=["a", "b [cm]", "c/d", "e"]),
        NAMES,
    ),
    "a random forest": fitted(RandomForestClassifier(20), X, NAMES),
    "a forest of numbers": fitted(RandomForestRegressor(10), X, X[:, 0]),
    "gradient boosting": fitted(GradientBoostingClassifier(n_estimators=5), X, Y),
    "histogram boosting with missing values": fitted(
        HistGradientBoostingClassifier(max_iter=10), HOLES, NAMES
    ),
    "histogram boosting of numbers": fitted(HistGradientBoostingRegressor(max_iter=10), HOLES, Y),
    "a support vector machine": fitted(SVC(), X, Y),
    "neighbors": fitted(KNeighborsClassifier(), X, Y),
    "mixed columns": with_frame(
        make_pipeline(columns(handle_unknown="ignore"), LogisticRegression(max_iter=1000))
    ),
    "mixed columns whose values must be known": with_frame(
        make_pipeline(columns(), RandomForestRegressor(5)), X[:, 0]
    ),
    "mixed columns that are selected by type": with_frame(
        make_pipeline(
            make_column_transformer(
                (
                    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                    make_column_selector(dtype_include="str"),
                ),
                remainder="passthrough",
            ),
            HistGradientBoostingClassifier(max_iter=5),
        )
    ),
    "strings that were fitted as an array": lambda: of_array(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    ),
    "texts": fitted(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        TEXTS,
        ["up" if text.startswith("g") else "down" for text in TEXTS],
    ),
    "texts without probabilities": fitted(
        make_pipeline(TfidfVectorizer(), LinearSVC()), TEXTS, [len(text) % 3 for text in TEXTS]
    ),
    "a number": fitted(LinearRegression(), load_diabetes().data, load_diabetes().target),
    "several numbers": fitted(Ridge(), load_linnerud().data, load_linnerud().target),
    "several numbers of a forest": fitted(ExtraTreesRegressor(5), X, X[:, :2]),
    "integer labels": fitted(LogisticRegression(max_iter=1000), X, Y * 10 - 10),
    "boolean labels": fitted(LogisticRegression(max_iter=1000), X, Y > 0),
    "several labels": fitted(
        OneVsRestClassifier(LogisticRegression()), X, np.column_stack([Y == 0, Y > 0]).astype(int)
    ),
    "several labels of a forest": fitted(
        RandomForestClassifier(5), X, np.column_stack([Y == 0, X[:, 0] > 5.5]).astype(int)
    ),
    "several outputs": fitted(
        MultiOutputClassifier(LogisticRegression(max_iter=1000)), X, np.column_stack([Y, Y + 5])
    ),
    "several outputs of a forest": fitted(
        RandomForestClassifier(5), X, np.column_stack([NAMES, np.where(Y > 0, "big", "small")])
    ),
    "clusters": fitted(KMeans(3, n_init=1), X),
    "clusters in batches": fitted(MiniBatchKMeans(3, n_init=1), X),
    "a mixture": fitted(GaussianMixture(3), X),
    "outliers of a forest": fitted(IsolationForest(n_estimators=10, contamination=0.1), X),
    "outliers of one class": fitted(OneClassSVM(nu=0.1), X),
    "outliers of neighbors": fitted(LocalOutlierFactor(novelty=True), X),
    "XGBoost": fitted(xgboost.XGBClassifier(n_estimators=5), HOLES, Y),
    "XGBoost of numbers": fitted(xgboost.XGBRegressor(n_estimators=5), X, X[:, 0]),
    "XGBoost on a DataFrame": fitted(
        xgboost.XGBClassifier(n_estimators=5), pd.DataFrame(X, columns=list("abcd")), Y
    ),
    "XGBoost with categories": lambda: of_categories(
        xgboost.XGBClassifier(n_estimators=5, enable_categorical=True)
    ),
    "LightGBM with categories": lambda: of_categories(
        lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
    ),
    "LightGBM": fitted(lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), X, NAMES),
    "LightGBM of numbers": fitted(
        lightgbm.LGBMRegressor(n_estimators=5, verbose=-1),
        pd.DataFrame(X, columns=list("abcd")),
        Y,
    ),
    "a transformer of one's own": with_frame(
        make_pipeline(transformers.Ages("age", "income"), LinearRegression()), X[:, 0]
    ),
}
