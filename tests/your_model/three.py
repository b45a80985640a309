"""Fit a model of each layout and write its examples, as their owner would."""

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

random = np.random.default_rng(0)
numbers = pd.DataFrame(random.normal(size=(40, 3)), columns=["x", "y [mm]", "a/b"])
mixed = numbers.assign(kind=random.choice(["new", "old"], 40), fast=random.random(40) > 0.5)
texts = pd.DataFrame({"review": ["good film", "bad film", "good", "awful"] * 10})
columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
models = {
    "array": (LinearRegression().fit(numbers.to_numpy(), numbers["x"]), numbers),
    "frame": (make_pipeline(columns, LogisticRegression()).fit(mixed, mixed["fast"]), mixed),
    "text": (
        make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts["review"], [1, 2] * 20),
        texts,
    ),
}
for name, (model, examples) in models.items():
    joblib.dump(model, f"{name}.joblib")
    examples.to_csv(f"{name}.csv", index=False)
