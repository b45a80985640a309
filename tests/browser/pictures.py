"""The pictures of the page in the READMEs: `make pictures`, which needs Chromium.

Written with few colors, so that they are small in a repository and in every project.
"""

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from .. import processes
from ..conftest import ROOT, SAMPLE, clean_environment
from ..rendering import PROJECT
from ..services import Service
from .pages import predict

SAMPLE_PICTURES = [ROOT / "docs" / "page.png", ROOT / PROJECT / "docs" / "page.png"]
MIXED_PICTURE = ROOT / "docs" / "page-dark.png"
COLORS = 64
WIDTH = 860

FIT = """
import sys, joblib, numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
random = np.random.default_rng(0)
rows = pd.DataFrame({
    "contract": random.choice(["monthly", "yearly"], 400),
    "months": random.integers(1, 73, 400),
    "charge": random.uniform(18, 119, 400).round(2),
    "support_calls": random.integers(0, 9, 400),
    "paperless": random.random(400) < 0.6,
    "note": random.choice(["moved", "price", None], 400),
})
left = (rows.contract == "monthly") & (rows.months < 24) | (rows.support_calls > 6)
encode = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["contract", "note"]), remainder="passthrough"
)
model = make_pipeline(encode, RandomForestClassifier(20, max_depth=6, random_state=0))
joblib.dump(model.fit(rows, np.where(left, "leaves", "stays")), f"{sys.argv[1]}/model.joblib")
rows.to_json(f"{sys.argv[1]}/rows.json", orient="records")
"""
DESCRIPTION = "Whether a customer leaves within three months."
CSV = """contract,months,charge,support_calls,paperless,note
monthly,4,89.10,2,true,price
yearly,thirty,54.20,0,false,
monthly,61,24.95,1,true,moved
"""


@pytest.fixture
def customers(environment: Path, tmp_path: Path) -> Path:
    """A model of mixed columns with names that mean something."""
    processes.run([environment / "python", "-c", FIT, tmp_path], check=True)
    processes.run(
        [environment / "iris-service", "model", "package", tmp_path / "model.joblib"]
        + ["--examples", tmp_path / "rows.json", "--model-dir", tmp_path / "model"]
        + ["--name", "customers", "--description", DESCRIPTION]
        + ["--trust", "sklearn.tree._tree.Tree", "--trust", "numpy.dtype"],
        check=True,
        env=clean_environment(),
    )
    return tmp_path / "model"


def write(page: Page, *paths: Path) -> None:
    """Write a picture of the whole page."""
    page.evaluate("document.activeElement.blur()")
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    for path in paths:
        picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def test_write_the_sample_with_its_prediction(environment: Path, page: Page) -> None:
    page.set_viewport_size({"width": WIDTH, "height": 400})
    with Service(environment, SAMPLE, port=8000) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        predict(page)
        write(page, *SAMPLE_PICTURES)


def test_write_rows_of_mixed_columns_with_an_error(
    environment: Path, customers: Path, page: Page
) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": WIDTH, "height": 400})
    with Service(environment, customers, port=8000) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.get_by_text("Paste CSV").click()
        page.locator("#csv").fill(CSV)
        page.get_by_role("button", name="Use these rows").click()
        expect(page.locator("#legend")).to_have_text("Row 2 of 3")
        write(page, MIXED_PICTURE)
