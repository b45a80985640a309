"""The pages of a generated service in a real browser: `make browser`, which needs Chromium.

Every layout and every task is loaded, filled, predicted and refused; no request leaves the service,
and the browser finds no other host.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from .. import processes
from ..conftest import SAMPLE, clean_environment
from ..services import Service

KEY = "page-key-0123456789abcdef"

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
SHOWN = {
    "text": "label: ",
    "mixed": "",
    "values": "",
    "multilabel": "labels: ",
    "several": "labels: ",
    "clusters": "cluster: ",
    "outliers": "outlier: ",
}


@pytest.fixture(scope="module")
def models(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every layout and task, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    processes.run([environment / "python", "-c", FIT, folder], check=True)
    for name in SHOWN:
        processes.run(
            [environment / "iris-service", "model", "package", folder / name / "model.joblib"]
            + ["--examples", folder / name / "rows.json", "--model-dir", folder / name / "model"]
            + ["--name", name],
            check=True,
            env=clean_environment(),
        )
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no Chromium: install it (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        refuse = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
        yield playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", refuse])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test at an error of a script, a breach of its policy, or a request to
    another host."""
    problems: list[str] = []
    with browser.new_context(viewport={"width": 900, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
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


def predict(page: Page) -> str:
    """Press the button; return what is shown as the predictions."""
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#predictions li").first).to_be_visible()
    return page.locator("#predictions").inner_text()


def test_the_sample_is_loaded_filled_predicted_and_refused(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        assert "label: " in predict(page)
        assert page.locator("meter").count() >= 2
        assert page.locator("#took").inner_text().endswith("1")
        shown = page.locator("#code").inner_text()
        assert f"curl http://127.0.0.1:{service.port}/predict" in shown
        ended = processes.run(shown, shell=True, capture_output=True, text=True, check=True)
        assert "predictions" in json.loads(ended.stdout)
        page.get_by_role("button", name="Python").click()
        code = page.locator("#code").inner_text()
        ended = processes.run(
            [environment / "python", "-c", code], capture_output=True, text=True, check=True
        )
        assert "predictions" in ended.stdout
        page.locator("#c0").fill("five")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#c0-error")).to_have_text("must be a finite number")
        expect(page.locator("#c0")).to_be_focused()
        expect(page.locator("#result")).to_be_hidden()


def test_several_rows_from_csv_and_from_a_link(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        names = page.locator("fieldset label").all_inner_texts()
        page.get_by_text("Paste CSV").click()
        line = ",".join("1.5" for _ in names)
        page.locator("#csv").fill(",".join(names) + f"\n{line}\n{line}\n")
        page.get_by_role("button", name="Use these rows").click()
        expect(page.locator("#predictions > li")).to_have_count(2)
        page.get_by_role("button", name="Row 2").click()
        page.locator("#c0").fill("nothing")
        page.get_by_role("button", name="Row 1").click()
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#legend")).to_have_text("Row 2 of 2")
        expect(page.locator("#c0-error")).not_to_be_empty()
        rows = json.dumps([dict.fromkeys(names, "2")] * 3)
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{service.port}/#rows={rows}")
        expect(page.locator("#legend")).to_have_text("Row 1 of 3")
        expect(page.locator("#c0")).to_have_value("2")


@pytest.mark.parametrize("name", SHOWN)
def test_every_layout_and_task(name: str, environment: Path, models: Path, page: Page) -> None:
    with Service(environment, models / name / "model") as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        assert SHOWN[name] in predict(page)
        if name == "mixed":
            page.get_by_role("checkbox", name="no value").check()
            predict(page)
            assert '"city": null' in page.locator("#code").inner_text()
            page.get_by_label("new").select_option("")
            page.get_by_role("button", name="Predict").click()
            expect(page.locator("#problem")).to_contain_text("see the marked fields")


def test_a_key_is_asked_for_and_kept_by_the_page_alone(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE, api_keys=KEY) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        expect(page.locator("#form")).to_be_hidden()
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#problem")).not_to_be_empty()
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        predict(page)
        assert KEY not in page.locator("#code").inner_text()
        assert page.context.storage_state() == {"cookies": [], "origins": []}
        page.reload()
        expect(page.locator("#form")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen_by_keyboard(environment: Path, page: Page, scheme: str) -> None:
    with Service(environment, SAMPLE) as service:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 340, "height": 700})
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.locator("#c0").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#predictions li").first).to_be_visible()
        assert (
            page.evaluate_handle("document.documentElement")
            .get_property("scrollWidth")
            .json_value()
            <= 340
        )


def try_predict(page: Page) -> None:
    """Ask for a prediction in Swagger UI, with the example that it offers."""
    page.locator(".opblock-post .opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table")
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text("predictions")


def test_swagger_ui_predicts_without_the_internet(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/docs")
        try_predict(page)


def test_swagger_ui_works_behind_a_proxy_that_removes_a_prefix(
    environment: Path, page: Page
) -> None:
    with Service(environment, SAMPLE) as service:
        url = f"http://127.0.0.1:{service.port}"

        def remove_prefix(route: Route, request: Request) -> None:
            path = request.url.removeprefix(f"{url}/below")
            assert path != request.url, f"{path} is outside of the prefix"
            route.fulfill(response=route.fetch(url=f"{url}{path}"))

        page.route("**/*", remove_prefix)
        page.goto(f"{url}/below/docs")
        try_predict(page)


def test_swagger_ui_asks_for_a_key_and_shows_it_nowhere(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE, api_keys=KEY) as service:
        page.goto(f"http://127.0.0.1:{service.port}/docs")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#problem")).to_have_text("This key is not valid.")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        try_predict(page)
        assert KEY not in page.content()
        assert page.context.storage_state() == {"cookies": [], "origins": []}
        page.reload()
        expect(page.get_by_label("API key")).to_be_visible()
