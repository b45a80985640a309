"""A model of every layout and task, and a browser that is watched.

Other tests collect this folder too, where Playwright is not installed: only a fixture imports it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .. import processes
from ..conftest import clean_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 20_000
"""Milliseconds that the browser may take to show something."""

FIT = """
import sys, joblib, numpy as np, pandas as pd
from pathlib import Path
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
random = np.random.default_rng(0)
numbers = pd.DataFrame(random.random((60, 3)).round(3), columns=["a", "b", "c"])
mixed = pd.DataFrame({"area": random.random(60).round(2), "city": ["Oslo", "Bern", None] * 20,
                      "new": [True, False] * 30})
texts = pd.DataFrame({"text": ["good film", "bad film", "so good", "so bad"] * 15})
first = (numbers.a > 0.5).astype(int)
encoder = OneHotEncoder(handle_unknown="ignore")
encode = make_column_transformer((encoder, ["city"]), remainder="passthrough")
several = np.c_[first, first + random.integers(0, 2, 60)]
models = {
    "text": (make_pipeline(TfidfVectorizer(), LogisticRegression()), texts, ["good", "bad"] * 30),
    "mixed": (make_pipeline(encode, LinearRegression()), mixed, mixed.area * 100),
    "values": (LinearRegression(), numbers, numbers[["a", "b"]]),
    "multilabel": (RandomForestClassifier(3, random_state=0), numbers, np.c_[first, 1 - first]),
    "several": (RandomForestClassifier(3, random_state=0), numbers, several),
    "clusters": (KMeans(3, n_init=1, random_state=0), numbers, None),
    "outliers": (IsolationForest(n_estimators=5, random_state=0), numbers, None),
}
for name, (model, rows, y) in models.items():
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    model.fit(rows.text if name == "text" else rows, y)
    joblib.dump(model, folder / "model.joblib")
    rows.to_json(folder / "rows.json", orient="records")
"""


@pytest.fixture(scope="module")
def models(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every layout and task, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    processes.run([environment / "python", "-c", FIT, folder], check=True)
    for name in sorted(path.name for path in folder.iterdir()):
        processes.run(
            [environment / "iris-service", "model", "package", folder / name / "model.joblib"]
            + ["--examples", folder / name / "rows.json", "--model-dir", folder / name / "model"]
            + ["--name", name],
            check=True,
            env=clean_environment(),
        )
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import expect, sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no Chromium: install it (Debian: apt-get install chromium)"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        refuse = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
        yield playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", refuse])


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page that fails the test at an error of a script, a breach of its policy, or a request to
    another host."""
    problems: list[str] = []
    with browser.new_context(viewport={"width": 900, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                problems.append(request.url)
                if not request.url.startswith(("http://127.0.0.1:", "data:"))
                else None
            ),
        )
        yield page
    assert problems == []
