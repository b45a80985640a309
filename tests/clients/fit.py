"""Fits and packages a model of each layout, with the service's own command.

    python fit.py PACKAGE OUT          (in the environment of the service)

Written are OUT/frame and OUT/text, two model directories.
"""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def main(package: str, out: Path) -> None:
    rng = np.random.default_rng(0)
    count = 200
    frame = pd.DataFrame(
        {
            "size": rng.normal(10, 3, count).round(3),
            "visits": rng.integers(0, 9, count),
            "member": rng.random(count) < 0.5,
            "city": rng.choice(["Oslo", "Århus", "Turku"], count),
        }
    )
    bought = (frame["size"] + frame["visits"] + 3 * frame["member"] > 14).astype(int)
    columns = make_column_transformer(
        (StandardScaler(), ["size", "visits"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("passthrough", ["member"]),
    )
    mixed = make_pipeline(columns, LogisticRegression()).fit(frame, bought)
    write(package, out, "frame", mixed, frame)
    texts = pd.DataFrame({"text": [f"{w} film {n}" for n in range(9) for w in ("good", "bad")]})
    kind = ["good", "bad"] * 9
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts["text"], kind)
    write(package, out, "text", words, texts)


def write(package: str, out: Path, name: str, model: object, examples: pd.DataFrame) -> None:
    joblib.dump(model, out / f"{name}.joblib")
    examples.to_csv(out / f"{name}.csv", index=False)
    command = [sys.executable, "-m", package, "model", "package", out / f"{name}.joblib"]
    command += ["--examples", out / f"{name}.csv", "--model-dir", out / name]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
